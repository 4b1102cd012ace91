/**
 * Tokens that a request has used.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";
import type { WireEnd } from "../engine/protocol.ts";
import type { usageSchema } from "../schemas/common.ts";

/** The end of a choice that has none yet. */
export const NO_END: WireEnd = {
  finishReason: "stop",
  ...{ promptTokens: 0, reusedTokens: 0, completionTokens: 0, reasoningTokens: 0 },
};

/**
 * Tokens of all choices, `n` of each prompt one after the other. A prompt counts once, and what it found
 * in the cache is what the choice that computed it did: the others share that one's pages.
 */
export function usageOf(ends: readonly WireEnd[], n: number): z.infer<typeof usageSchema> {
  const sum = (counts: readonly number[]) => counts.reduce((total, count) => total + count, 0);
  const firsts = ends.filter((_, index) => index % n === 0);
  const prompt_tokens = sum(firsts.map(({ promptTokens }) => promptTokens));
  const completion_tokens = sum(ends.map(({ completionTokens }) => completionTokens));
  const cached_tokens = sum(
    firsts.map((_, prompt) =>
      Math.min(...ends.slice(prompt * n, (prompt + 1) * n).map(({ reusedTokens }) => reusedTokens))
    ),
  );
  return {
    prompt_tokens,
    completion_tokens,
    total_tokens: prompt_tokens + completion_tokens,
    prompt_tokens_details: { cached_tokens },
    completion_tokens_details: {
      reasoning_tokens: sum(ends.map(({ reasoningTokens }) => reasoningTokens)),
    },
  };
}
