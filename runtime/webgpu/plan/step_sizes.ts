/**
 * The sizes of steps: which ranges of them a program has lists for, and what a step of one has.
 *
 * @module
 */

import { type Bindings, type Graph, RequestError } from "../../../graph/mod.ts";
import type { DeviceProfile, StepSizes, TokenRange } from "../../../kernels/mod.ts";
import { configuredRanges } from "../../compile_fields.ts";
import type { CompileOptions, StepRequest } from "../../executor.ts";
import { singleRanges, tokenRanges } from "./buckets.ts";

/** Ranges of a program's lists: of steps of any kind, then, in a language model, of sequences that all decode. */
export function rangesOf(
  graph: Graph,
  isLanguageModel: boolean,
  { maxTokens, maxSequences }: Pick<CompileOptions, "maxTokens" | "maxSequences">,
  profile: Pick<DeviceProfile, "software">,
): TokenRange[] {
  const ends = configuredRanges(graph);
  const most = Math.min(maxSequences, maxTokens);
  const singles = isLanguageModel ? singleRanges(most, ends, leastSingles(profile)) : [];
  return [...tokenRanges(maxTokens, ends), ...singles];
}

/**
 * The smallest range of sequences that decode together. On a GPU two to four have kernels of their own, which
 * take each pair of a token and an expert by itself; a CPU would compile longer than it gains.
 */
function leastSingles({ software }: Pick<DeviceProfile, "software">): number {
  return software ? 8 : 4;
}

/** Sizes of the symbols in the largest step of a range that ends at `tokens`. */
export function largestSizes(tokens: number, options: CompileOptions): StepSizes {
  return {
    T: tokens,
    R: Math.min(tokens, options.maxRows ?? options.maxTokens),
    S: options.maxSequences,
    P: options.maxPagesPerSequence,
  };
}

/** Sizes of a step. @throws {RequestError} for one that is larger than any. */
export function requestSizes(request: StepRequest, options: CompileOptions): StepSizes {
  const { tokenIds, logitsRows, blockTable } = request;
  const { sequences, pages } = blockTable;
  return stepSizes({ T: tokenIds.length, R: logitsRows.length, S: sequences, P: pages }, options);
}

/** Sizes of a step by the symbols that are given. @throws {RequestError} for one that is larger than any. */
export function stepSizes(bindings: Bindings, options: CompileOptions): StepSizes {
  const sizes = {
    T: bindings.T ?? 1,
    R: bindings.R ?? Math.min(bindings.T ?? 1, options.maxRows ?? options.maxTokens),
    S: bindings.S ?? 1,
    P: bindings.P ?? 1,
  };
  const largest = largestSizes(options.maxTokens, options);
  for (const name of ["T", "R", "S", "P"] as const) {
    if (sizes[name] >= 1 && sizes[name] <= largest[name]) continue;
    throw new RequestError(
      "request/step-size",
      `Cannot run a step: expected ${name} from 1 to ${largest[name]}, got ${sizes[name]}`,
      { hint: "Split the step, or compile for larger ones" },
    );
  }
  return sizes;
}
