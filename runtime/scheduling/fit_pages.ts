/**
 * As many pages as the device has memory for. WebGPU does not say how much there is: it is found out
 * by allocating, which a program does before any weight is read.
 *
 * @module
 */

import { DeviceError } from "../../graph/mod.ts";
import { pagesFor } from "./kv_cache.ts";
import type { StepLimits } from "./step_limits.ts";

/** A program, and the limits for which there was memory. */
export interface Fitted<Program> {
  readonly program: Program;
  readonly limits: StepLimits;
}

/** How {@linkcode compileWithPages} goes about it. */
export interface FitOptions {
  /** Take fewer sequences for few pages: nobody has asked for a number of them. Default false. */
  readonly fewerSequences?: boolean;
  /** Told in a sentence what is less than wanted. */
  readonly note: (text: string) => void;
}

/**
 * Compiles a program; while there is no memory for something other than weights, again with half the
 * pages, down to those of the longest sequence.
 *
 * @throws {DeviceError} `device/out-of-memory` when that is too much as well.
 */
export async function compileWithPages<Program>(
  wanted: StepLimits,
  compile: (limits: StepLimits) => Promise<Program>,
  { fewerSequences = false, note }: FitOptions,
): Promise<Fitted<Program>> {
  const least = pagesFor(wanted.maxSequenceTokens, wanted.pageSize);
  const fit = (limits: StepLimits) => fewerSequences ? withFittingSequences(limits, note) : limits;
  for (let limits = fit(wanted);;) {
    try {
      return { program: await compile(limits), limits };
    } catch (error) {
      const pages = Math.max(least, Math.floor(limits.pages / 2));
      if (!isShortOfMemory(error) || wanted.recompute || pages >= limits.pages) throw error;
      note(`The KV cache has ${pages} pages instead of ${limits.pages}: ${error.message}`);
      limits = fit({ ...limits, pages, pagesReason: "what the device had memory for" });
    }
  }
}

/** Each of the sequences that run at a time has pages for this part of the longest one, up to so many tokens. */
const PART_OF_LONGEST = 1 / 8;
const MOST_TOKENS_EACH = 512;

/** The limits, with as many sequences as pages suffice for: more would take each other's places. */
function withFittingSequences(limits: StepLimits, note: (text: string) => void): StepLimits {
  const { maxSequenceTokens, maxSequences, pages, pageSize } = limits;
  const tokens = Math.ceil(Math.min(MOST_TOKENS_EACH, maxSequenceTokens * PART_OF_LONGEST));
  const fitting = Math.max(1, Math.floor(pages / pagesFor(tokens, pageSize)));
  if (fitting >= maxSequences) return limits;
  const reason = `the KV cache has ${pages} pages, for ${tokens} tokens of each`;
  note(`${fitting} sequences run at a time instead of ${maxSequences}: ${reason}`);
  return { ...limits, maxSequences: fitting, sequencesReason: reason };
}

function isShortOfMemory(error: unknown): error is DeviceError {
  return error instanceof DeviceError && error.code === "device/out-of-memory" &&
    !String(error.details.what).startsWith("weight");
}
