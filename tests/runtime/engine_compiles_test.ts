import assert from "node:assert/strict";
import {
  compileSizes,
  createEngine,
  type Engine,
  type GenerateOptions,
  openWebGpuExecutor,
  stepLimits,
} from "../../runtime/mod.ts";
import { webgpuTest } from "../support/adapter.ts";
import { countGpuCalls } from "../support/count_gpu_calls.ts";
import { NO_TENSORS } from "../support/test_kernels.ts";
import { TINY, tinyLanguageModel } from "../support/tiny_language_model.ts";

const SIZES = { maxSeqLen: 64, maxBatchSize: 16, maxNumTokens: 40 };

/** An engine of token ids alone, compiled as on a GPU: all of it before the first request. */
async function openCompiled(): Promise<Engine> {
  const executor = await openWebGpuExecutor({ selfTest: false });
  const graph = tinyLanguageModel();
  const limits = stepLimits(graph, SIZES);
  const sizes = { source: NO_TENSORS, compileAll: true, ...compileSizes(limits) };
  return createEngine({
    program: await executor.compile(graph, sizes),
    limits,
    codec: { encode: () => [], decode: () => "", isTextless: true },
    vocabSize: TINY.vocab,
    defaults: { eosTokenIds: [] },
    executor: { kind: executor.kind, description: executor.description, reason: "test" },
    onClose: () => executor.dispose(),
  });
}

/** A bit for each token: those of even ids. */
const EVEN = new Uint32Array(Math.ceil(TINY.vocab / 32)).fill(0x55555555);

const KINDS: Readonly<Record<string, GenerateOptions>> = {
  greedy: { temperature: 0 },
  sampled: { temperature: 1, topK: 5, topP: 0.9, minP: 0.01, seed: 1 },
  penalties: { temperature: 0.7, repetitionPenalty: 1.3, presencePenalty: 1, frequencyPenalty: 1 },
  "biased logits": { logitBias: { "3": 5 } },
  logprobs: { temperature: 0, logprobs: 3 },
  constrained: { allowedTokens: () => EVEN },
};

webgpuTest("no request compiles anything once a model is ready", async () => {
  await using engine = await openCompiled();
  const generate = async (count: number, tokens: number, options: GenerateOptions) => {
    const prompts = Array.from(
      { length: count },
      (_, n) => Int32Array.from({ length: tokens }, (_, i) => (7 * n + i) % TINY.vocab),
    );
    const all = { maxNewTokens: 2, ignoreEos: true, ...options };
    await Promise.all(prompts.map((prompt) => Array.fromAsync(engine.generate(prompt, all))));
  };
  const compiled: string[] = [];
  const watch = async (what: string, work: () => Promise<unknown>) => {
    const calls = await countGpuCalls(async () => void await work());
    const { createComputePipeline = 0, createShaderModule = 0 } = calls;
    if (createComputePipeline + createShaderModule > 0) {
      compiled.push(`${what}: ${createComputePipeline}, ${createShaderModule}`);
    }
  };
  for (const [kind, options] of Object.entries(KINDS)) {
    await watch(kind, () => generate(1, 5, options));
    await watch(`3 ${kind}`, () => generate(3, 3, options));
  }
  for (const count of [9, 16]) await watch(`${count}`, () => generate(count, 2, KINDS.greedy));
  await watch("chunks of prompts", () => generate(5, 50, KINDS.sampled));
  await watch("logits", () => engine.logits(Int32Array.from({ length: 30 }, (_, i) => i)));
  assert.deepEqual(compiled, [], "pipelines and shaders that were compiled late");
});
