import assert from "node:assert/strict";
import { benchmark, promptOf } from "../../cli/benchmark.ts";
import { pipeline } from "../../mod.ts";
import { STORYTELLER } from "../support/model_folder.ts";

Deno.test("promptOf() begins with another token in each run, however short the text", () => {
  for (const prompt of [[7], [7, 8], [7, 7, 7, 7, 7, 7, 7, 7]]) {
    const firsts = Array.from(
      { length: 6 },
      (_, run) => promptOf(run, { prompt: Int32Array.from(prompt), promptTokens: 32 }, 9)[0],
    );
    assert.equal(new Set(firsts).size, 6, prompt.join());
    assert.ok(firsts.every((id) => id < 9));
  }
});

Deno.test("benchmark() computes whole prompts, also those of one word again and again", async () => {
  await using engine = await pipeline().deploy({ model: STORYTELLER, executor: "cpu" });
  const { prefill } = await benchmark(engine, {
    ...{ prompt: Int32Array.of(7), promptTokens: 48, newTokens: 2, runs: 2 },
    signal: new AbortController().signal,
  });
  assert.equal(prefill.tokens, 48);
  assert.equal(engine.stats().reusedTokens, 0);
});
