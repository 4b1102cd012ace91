import assert from "node:assert/strict";
import { join } from "node:path";
import { CheckpointError, pipeline } from "../../mod.ts";

/** A copy of a golden model, which has no tokenizer.json. */
const MODEL = join(import.meta.dirname ?? ".", "../golden/qwen3_moe");

Deno.test("an engine without tokenizer runs token ids and refuses text", async () => {
  await using engine = await pipeline().deploy({ model: MODEL, executor: "cpu" });
  const pieces = [];
  for await (const piece of engine.generate([5, 6, 7], { maxNewTokens: 4, temperature: 0 })) {
    pieces.push(piece);
  }
  assert.ok(pieces.length > 0);
  assert.ok(pieces.every(({ text }) => text === ""));
  const missing = (error: unknown) =>
    error instanceof CheckpointError && error.code === "checkpoint/missing-tokenizer";
  assert.throws(() => engine.encode("a text"), missing);
  assert.throws(() => engine.decode([5]), missing);
  await assert.rejects(async () => {
    for await (const _ of engine.generate("a text")) assert.fail("text was run");
  }, missing);
});
