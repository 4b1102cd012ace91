import assert from "node:assert/strict";
import { NO_END, usageOf } from "../../server/api/usage.ts";

/** Ends with so many tokens of the prompt, in the cache, of the answer, and thought. */
function end(
  promptTokens: number,
  reusedTokens: number,
  completionTokens = 1,
  reasoningTokens = 0,
) {
  return { ...NO_END, promptTokens, reusedTokens, completionTokens, reasoningTokens };
}

Deno.test("usageOf() counts a prompt once, as the choice that computed it found it", () => {
  assert.deepEqual(usageOf([end(40, 16, 3, 2), end(40, 32, 4, 1)], 2), {
    ...{ prompt_tokens: 40, completion_tokens: 7, total_tokens: 47 },
    prompt_tokens_details: { cached_tokens: 16 },
    completion_tokens_details: { reasoning_tokens: 3 },
  });
});

Deno.test("usageOf() adds the prompts of a request", () => {
  const { prompt_tokens, prompt_tokens_details } = usageOf(
    [end(40, 32), end(40, 16), end(20, 0), end(20, 16)],
    2,
  );
  assert.deepEqual([prompt_tokens, prompt_tokens_details.cached_tokens], [60, 16]);
});
