/**
 * Ranges of step sizes. Each has its own list of dispatches, because the kernels that are best for
 * one token are not those for a thousand.
 *
 * @module
 */

import { ConfigError } from "../../../graph/mod.ts";

/** Steps of `min..max` tokens. */
export interface TokenRange {
  readonly min: number;
  readonly max: number;
}

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
  const sorted = [...new Set([...wanted.filter((end) => end < maxTokens), maxTokens])]
    .sort((a, b) => a - b);
  return sorted.map((max, i) => ({ min: i === 0 ? 1 : sorted[i - 1] + 1, max }));
}

function defaultEnds(maxTokens: number): number[] {
  const ends = [1];
  for (let end = 8; end < maxTokens; end *= 4) ends.push(end);
  return ends;
}
