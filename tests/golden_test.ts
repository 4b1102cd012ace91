/**
 * What users see against transformers: every golden model through the public pipeline, on the CPU
 * and on WebGPU with each backend, prefilled at once, in chunks, and token by token.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type HostTensor, invariant, isOp } from "../graph/mod.ts";
import { type Engine, pipeline } from "../mod.ts";
import { loadModel } from "../models/mod.ts";
import { optimize } from "../transforms/mod.ts";
import { webgpuTest, withExecutor } from "./support/adapter.ts";
import { defaultSteps } from "./support/language_model.ts";
import { IS_QUICK } from "./support/quick.ts";
import { readSafetensors } from "./support/safetensors.ts";

const GOLDEN = join(import.meta.dirname ?? ".", "golden");
const DEMO = join(import.meta.dirname ?? ".", "../demo/storyteller");
const MODELS = ["qwen3_moe", "mixtral", "olmoe"] as const;
const BACKENDS = ["triton", "trtllm"] as const;

/** Tokens of the largest step: all of a prompt, parts of it, one; in a quick run parts alone. */
const CHUNKS = IS_QUICK ? [5] : [64, 5, 1];

/** The bound: largest difference over the largest |logit|. */
const LOGITS = 1e-3;

interface Where {
  readonly executor: "cpu" | "webgpu";
  readonly backend: (typeof BACKENDS)[number] | "auto";
}

const PLACES: readonly Where[] = [
  { executor: "cpu", backend: "auto" },
  ...BACKENDS.map((backend) => ({ executor: "webgpu" as const, backend })),
];

/** An engine with a cache in f32, as the goldens were made. */
function deploy(
  model: string,
  { executor, backend }: Where,
  maxNumTokens: number,
): Promise<Engine> {
  return pipeline()
    .fuseMoe({ backend })
    .insertCachedAttention({ cache_dtype: "f32" })
    .settings({ maxNumTokens, maxSeqLen: 128, maxBatchSize: 1 })
    .deploy({ model, executor });
}

function test({ executor }: Where, name: string, body: () => Promise<void>): void {
  if (executor === "webgpu") webgpuTest(name, body);
  else Deno.test(name, body);
}

function numbers(tensors: ReadonlyMap<string, HostTensor>, name: string): number[] {
  const tensor = tensors.get(name);
  invariant(tensor, `the golden file has no ${name}`);
  return Array.from(tensor.data as ArrayLike<number | bigint>, Number);
}

function goldens(model: string) {
  return readSafetensors(new URL(`golden/${model}/golden.safetensors`, import.meta.url));
}

for (const model of MODELS) {
  for (const where of PLACES) {
    const place = where.executor === "cpu" ? "the CPU" : `WebGPU with ${where.backend}`;
    test(where, `${model} on ${place} gives transformers' logits and greedy tokens`, async () => {
      const tensors = await goldens(model);
      for (const chunk of CHUNKS) {
        await using engine = await deploy(join(GOLDEN, model), where, chunk);
        for (const prompt of ["p0", "p1", "p2"]) {
          const what = `${prompt} in steps of ${chunk}`;
          const ids = numbers(tensors, `${prompt}.input_ids`);
          const expected = numbers(tensors, `${prompt}.logits`);
          const logits = await engine.logits(Int32Array.from(ids));
          assert.equal(logits.length, expected.length, what);
          const largest = Math.max(...expected.map(Math.abs));
          const worst = Math.max(...expected.map((each, i) => Math.abs(each - logits[i])));
          assert.ok(worst <= LOGITS * largest, `${what}: off by ${worst} of ${largest}`);
          const options = { maxNewTokens: 16, temperature: 0, ignoreEos: true };
          const greedy: number[] = [];
          for await (const { token } of engine.generate(ids, options)) greedy.push(token);
          assert.deepEqual(greedy, numbers(tensors, `${prompt}.greedy`), what);
        }
      }
    });
  }

  for (const backend of BACKENDS) {
    webgpuTest(`${model} on WebGPU with ${backend} chooses transformers' experts`, async () => {
      await checkExperts(model, backend);
    });
  }
}

/** Runs the fused graph with the choices of its routers as results. */
async function checkExperts(name: string, backend: string): Promise<void> {
  const tensors = await goldens(name);
  const model = await loadModel(join(GOLDEN, name));
  await withExecutor({ selfTest: false }, async (executor) => {
    const { graph } = await optimize({
      steps: await defaultSteps({
        fuse_moe: { backend },
        insert_cached_attention: { cache_dtype: "f32" },
      }),
      context: {
        model,
        target: { executor: "webgpu", profile: executor.device.profile },
        settings: { maxSeqLen: 64, maxBatchSize: 1, maxNumTokens: 64 },
        log() {},
      },
    });
    const routers = graph.nodes.filter((node) => isOp(node, "moe_router"));
    assert.equal(routers.length, 2);
    for (const [layer, { outputs }] of routers.entries()) {
      graph.setOutput(`router.${layer}`, outputs[0]);
    }
    const pages = 4;
    const program = await executor.compile(graph, {
      source: model.checkpoint,
      ...{ maxTokens: 64, maxSequences: 1, pages, maxPagesPerSequence: pages },
    });
    for (const prompt of ["p0", "p1", "p2"]) {
      const ids = numbers(tensors, `${prompt}.input_ids`);
      const T = ids.length;
      const results = await program.run({
        token_ids: Int32Array.from(ids),
        positions: Int32Array.from({ length: T }, (_, i) => i),
        sequence_ids: new Int32Array(T),
        block_table: Int32Array.from({ length: pages }, (_, i) => i),
        logits_rows: Int32Array.of(T - 1),
      }, { T, R: 1, S: 1, P: pages });
      for (const layer of routers.keys()) {
        const chosen = Array.from(results[`router.${layer}`]);
        const topK = chosen.length / T;
        const sorted = Array.from(
          { length: T },
          (_, t) => chosen.slice(t * topK, (t + 1) * topK).sort((a, b) => a - b),
        );
        const expected = numbers(tensors, `${prompt}.router.${layer}.ids`);
        assert.deepEqual(sorted.flat(), expected, `${prompt}, layer ${layer}`);
      }
    }
  });
  await model.checkpoint.close();
}

interface Story {
  readonly prompts: readonly { readonly prompt_ids: number[]; readonly greedy_ids: number[] }[];
}

for (const where of PLACES) {
  const place = where.executor === "cpu" ? "the CPU" : `WebGPU with ${where.backend}`;
  test(where, `the bundled model on ${place} writes transformers' stories`, async () => {
    const file = join(GOLDEN, "storyteller/golden.json");
    const { prompts }: Story = JSON.parse(await Deno.readTextFile(file));
    assert.equal(prompts.length, 6);
    await using engine = await deploy(DEMO, where, 64);
    for (const { prompt_ids, greedy_ids } of IS_QUICK ? prompts.slice(0, 2) : prompts) {
      const options = { maxNewTokens: greedy_ids.length, temperature: 0, ignoreEos: true };
      const tokens: number[] = [];
      for await (const { token } of engine.generate(prompt_ids, options)) tokens.push(token);
      assert.deepEqual(tokens, greedy_ids);
    }
  });
}
