/**
 * Ranges of step sizes. Each has its own list of dispatches, because the kernels that are best for
 * one token are not those for a thousand.
 *
 * @module
 */

import { ConfigError } from "../../../graph/mod.ts";
import type { TokenRange } from "../../../kernels/mod.ts";

/**
 * Ranges that cover 1 to `maxTokens`: the given upper ends, or 1, 8, 32, 128, 512, ...
 *
 * @example
 * ```ts
 * import { tokenRanges } from "./buckets.ts";
 * const ends = tokenRanges(100).map((range) => range.max);
 * console.assert(String(ends) === "1,8,32,100");
 * ```
 */
export function tokenRanges(maxTokens: number, ends?: readonly number[]): TokenRange[] {
  const wanted = ends ?? defaultEnds(maxTokens);
  if (!wanted.every((end) => Number.isInteger(end) && end > 0)) {
    throw new ConfigError(
      "config/token-ranges",
      `Cannot plan steps: expected ends of token ranges as positive integers, got ${
        wanted.join(", ")
      }`,
    );
  }
  return rangesUpTo(maxTokens, wanted);
}

/**
 * Ranges of steps in which several sequences have one token each: 2 to `maxSequences`, with the
 * given upper ends, or `least`, twice that, ... Kernels that read each weight once take longer with every
 * token, so these ranges are narrower.
 *
 * @example
 * ```ts
 * import { singleRanges } from "./buckets.ts";
 * const ends = singleRanges(24).map((range) => range.max);
 * console.assert(String(ends) === "8,16,24");
 * ```
 */
export function singleRanges(
  maxSequences: number,
  ends?: readonly number[],
  least = 8,
): TokenRange[] {
  const wanted = ends ?? powersFrom(least, maxSequences, 2);
  return rangesUpTo(maxSequences, [1, ...wanted]).slice(1)
    .map((range) => ({ ...range, single: true }));
}

function rangesUpTo(most: number, ends: readonly number[]): TokenRange[] {
  const sorted = [...new Set([...ends.filter((end) => end < most), most])].sort((a, b) => a - b);
  return sorted.map((max, i) => ({ min: i === 0 ? 1 : sorted[i - 1] + 1, max }));
}

function defaultEnds(maxTokens: number): number[] {
  return [1, ...powersFrom(8, maxTokens, 4)];
}

function powersFrom(first: number, below: number, factor: number): number[] {
  const powers = [];
  for (let power = first; power < below; power *= factor) powers.push(power);
  return powers;
}
