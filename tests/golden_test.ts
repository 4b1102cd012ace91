/**
 * What users see against transformers, through the public pipeline: a golden model on WebGPU with each
 * backend, prefilled at once, in chunks and token by token (others, and all on the CPU, are in
 * `family_golden_test.ts`), and stories of the bundled model.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { webgpuTest } from "./support/adapter.ts";
import { checkEngine, deployGolden, type EnginePlace } from "./support/golden_engine.ts";
import { GOLDEN, GoldenValues } from "./support/golden_values.ts";
import { IS_QUICK } from "./support/quick.ts";

const DEMO = fileURLToPath(new URL("../demo/storyteller", import.meta.url));

type Where = Omit<EnginePlace, "maxNumTokens">;

const ON_DEVICE: readonly Where[] = [
  { executor: "webgpu", backend: "triton" },
  { executor: "webgpu", backend: "trtllm" },
];

for (const where of ON_DEVICE) {
  const name = `qwen3_moe on WebGPU with ${where.backend} gives transformers' logits and tokens`;
  webgpuTest(name, async () => {
    const golden = await GoldenValues.of("qwen3_moe");
    for (const maxNumTokens of [64, 5, 1]) {
      await checkEngine("qwen3_moe", golden, { ...where, maxNumTokens });
    }
  });
}

interface Story {
  readonly prompts: readonly { readonly prompt_ids: number[]; readonly greedy_ids: number[] }[];
}

const EVERYWHERE: readonly Where[] = [{ executor: "cpu", backend: "auto" }, ...ON_DEVICE];

for (const where of EVERYWHERE) {
  const place = where.executor === "cpu" ? "the CPU" : `WebGPU with ${where.backend}`;
  const test = where.executor === "cpu" ? Deno.test : webgpuTest;
  test(`the bundled model on ${place} writes transformers' stories`, async () => {
    const file = new URL("storyteller/golden.json", GOLDEN);
    const { prompts }: Story = JSON.parse(await Deno.readTextFile(file));
    assert.equal(prompts.length, 6);
    await using engine = await deployGolden(DEMO, { ...where, maxNumTokens: 64, maxSeqLen: 128 });
    for (const { prompt_ids, greedy_ids } of IS_QUICK ? prompts.slice(0, 1) : prompts) {
      const options = { maxNewTokens: greedy_ids.length, temperature: 0, ignoreEos: true };
      const tokens: number[] = [];
      for await (const { token } of engine.generate(prompt_ids, options)) tokens.push(token);
      assert.deepEqual(tokens, greedy_ids);
    }
  });
}
