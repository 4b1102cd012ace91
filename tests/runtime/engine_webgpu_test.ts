import assert from "node:assert/strict";
import {
  compileSizes,
  createEngine,
  type Engine,
  type Executor,
  type GenerateOptions,
  openCpuExecutor,
  openWebGpuExecutor,
  stepLimits,
} from "../../runtime/mod.ts";
import { webgpuTest } from "../support/adapter.ts";
import { NO_TENSORS } from "../support/test_kernels.ts";
import { TINY, tinyLanguageModel } from "../support/tiny_language_model.ts";

const SETTINGS = { maxSeqLen: 64, maxBatchSize: 3, maxNumTokens: 16 };

/** An engine whose tokens are letters, on an executor that it closes. */
async function openEngine(executor: Executor): Promise<Engine> {
  const graph = tinyLanguageModel();
  const limits = stepLimits(graph, SETTINGS);
  const program = await executor.compile(graph, { source: NO_TENSORS, ...compileSizes(limits) });
  return createEngine({
    program,
    limits,
    codec: {
      encode: (text) => Array.from(text, (letter) => letter.charCodeAt(0) - 32),
      decode: (ids) => String.fromCharCode(...ids.map((id) => id + 32)),
    },
    vocabSize: TINY.vocab,
    defaults: { eosTokenIds: [] },
    executor: { kind: executor.kind, description: executor.description, reason: "test" },
    onClose: () => executor.dispose(),
  });
}

const REQUESTS: [string, GenerateOptions][] = [
  ["a prompt of more tokens than a step has", { maxNewTokens: 3, temperature: 0 }],
  ["short", { maxNewTokens: 5, temperature: 1, seed: 7 }],
  ["third", { maxNewTokens: 4, temperature: 0.8, topP: 0.9, repetitionPenalty: 1.3, seed: 8 }],
  ["waits for a place", { maxNewTokens: 3, temperature: 0 }],
];

webgpuTest(
  "generate() gives on WebGPU what it gives on the CPU, alone and side by side",
  async () => {
    await using webgpu = await openEngine(await openWebGpuExecutor({ selfTest: false }));
    await using cpu = await openEngine(openCpuExecutor());
    const texts = await Promise.all(REQUESTS.map((request) => webgpu.generate(...request).text()));
    for (const [i, request] of REQUESTS.entries()) {
      const expected = await cpu.generate(...request).text();
      assert.equal(texts[i], expected, "side by side");
      assert.equal(await webgpu.generate(...request).text(), expected, "alone");
    }
    assert.deepEqual(webgpu.report.load, { pages: 0, running: 0, waiting: 0 });
  },
);

webgpuTest("logits() gives on WebGPU what it gives on the CPU, in chunks", async () => {
  await using webgpu = await openEngine(await openWebGpuExecutor({ selfTest: false }));
  await using cpu = await openEngine(openCpuExecutor());
  const tokens = Array.from({ length: 21 }, (_, i) => (i * 11) % TINY.vocab);
  const [got, wanted] = [await webgpu.logits(tokens), await cpu.logits(tokens)];
  assert.equal(got.length, 21 * TINY.vocab);
  const largest = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  for (const [i, value] of wanted.entries()) {
    assert(Math.abs(value - got[i]) <= 1e-4 * largest, `logit ${i}: ${got[i]} for ${value}`);
  }
});

webgpuTest("generate() stops at an abort in the middle and leaves the device usable", async () => {
  await using engine = await openEngine(await openWebGpuExecutor({ selfTest: false }));
  const expected = await engine.generate(...REQUESTS[1]).text();
  const controller = new AbortController();
  await assert.rejects(async () => {
    for await (const _ of engine.generate("abort", { signal: controller.signal })) {
      controller.abort();
    }
  }, /got an aborted one/);
  assert.equal(await engine.generate(...REQUESTS[1]).text(), expected);
  assert.deepEqual(engine.report.load, { pages: 0, running: 0, waiting: 0 });
});

webgpuTest("profile() times every dispatch of a step where the device has a clock", async () => {
  const executor = await openWebGpuExecutor({ selfTest: false });
  await using engine = await openEngine(executor);
  const decode = await engine.profile(1, 40);
  const prefill = await engine.profile(16);
  if (!executor.device.profile.timestamps) return assert.equal(decode, undefined);
  const kernels = decode?.map(({ kernel }) => kernel) ?? [];
  assert.deepEqual([kernels[0], kernels.at(-1)], ["embedding", "sample"]);
  for (const { scope, seconds } of [...decode ?? [], ...prefill ?? []]) {
    assert(seconds >= 0 && seconds < 60, `${seconds} s`);
    assert(scope === "" || scope.startsWith("model.layers.0"), scope);
  }
  assert.throws(() => engine.profile(17), /expected 1 to 16 tokens after 0, got 17/);
  assert.deepEqual(engine.report.load, { pages: 0, running: 0, waiting: 0 });
});

webgpuTest("close() gives the device's memory back", async () => {
  const executor = await openWebGpuExecutor({ selfTest: false });
  const engine = await openEngine(executor);
  await engine.generate("x", { maxNewTokens: 2 }).text();
  assert(executor.device.allocatedBytes > 0);
  await engine.close();
  assert.equal(executor.device.allocatedBytes, 0);
});
