/**
 * Every family through the public pipeline against transformers: logits and greedy tokens on the CPU
 * and on WebGPU with each backend; prompts at once, in chunks, and token by token.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type HostTensor, invariant } from "../graph/mod.ts";
import { type Engine, pipeline } from "../mod.ts";
import { webgpuTest } from "./support/adapter.ts";
import { readSafetensors } from "./support/safetensors.ts";
import { IS_QUICK } from "./support/quick.ts";
import { TOLERANCES } from "./support/tolerances.ts";

const GOLDEN = join(import.meta.dirname ?? ".", "golden");

const FAMILIES = [
  ...["afmoe", "dbrx", "deepseek_v2", "deepseek_v2_grouped", "deepseek_v3", "dots1"],
  ...["ernie4_5_moe", "exaone_moe", "gemma3", "gemma4", "glm4_moe", "glm4_moe_lite"],
  ...[
    "granitemoe",
    "granitemoeshared",
    "hunyuan_v1_moe",
    "hy_v3",
    "llama",
    "llama4_text",
    "mimo_v2_flash",
  ],
  ...["minimax_m2", "mistral", "olmo2", "phimoe", "phimoe_longrope", "qwen2_moe", "qwen3"],
  ...["qwen3_moe_longrope", "solar_open"],
];

/** Beyond this many tokens LongRoPE takes its other factors, which transformers does in mid-sequence. */
const SHORT: Readonly<Record<string, number>> = { phimoe_longrope: 64, qwen3_moe_longrope: 64 };

interface Place {
  readonly executor: "cpu" | "webgpu";
  readonly backend: "triton" | "trtllm" | "auto";
  /** Tokens of the largest step, and the prompts that are tried with it. */
  readonly runs: readonly (readonly [number, readonly string[]])[];
}

const ALL = ["p0", "p1", "p2"];

const PLACES: readonly Place[] = [
  {
    ...{ executor: "cpu", backend: "auto" },
    runs: IS_QUICK ? [[5, ALL]] : [[64, ALL], [5, ALL], [1, ["p1"]]],
  },
  { executor: "webgpu", backend: "triton", runs: [[64, ["p0", "p2"]], [1, ["p0"]]] },
  { executor: "webgpu", backend: "trtllm", runs: [[5, ["p1"]]] },
];

/** An engine with a cache in f32, as the goldens were made. */
function deploy(name: string, { executor, backend }: Place, maxNumTokens: number): Promise<Engine> {
  return pipeline()
    .fuseMoe({ backend })
    .insertCachedAttention({ cache_dtype: "f32" })
    .settings({ maxNumTokens, maxSeqLen: SHORT[name] ?? 128, maxBatchSize: 1 })
    .deploy({ model: join(GOLDEN, name), executor });
}

function numbers(tensors: ReadonlyMap<string, HostTensor>, name: string): number[] {
  const tensor = tensors.get(name);
  invariant(tensor, `the golden file has no ${name}`);
  return Array.from(tensor.data as ArrayLike<number | bigint>, Number);
}

for (const name of FAMILIES) {
  for (const place of PLACES) {
    const where = place.executor === "cpu" ? "the CPU" : `WebGPU with ${place.backend}`;
    const test = place.executor === "cpu" ? Deno.test : webgpuTest;
    test(`${name} on ${where} gives transformers' logits and greedy tokens`, async () => {
      const tensors = await readSafetensors(
        new URL(`golden/${name}/golden.safetensors`, import.meta.url),
      );
      for (const [chunk, prompts] of place.runs) {
        await using engine = await deploy(name, place, chunk);
        const kept = prompts.filter((prompt) => tensors.has(`${prompt}.logits`));
        assert.ok(kept.length > 0, `the golden file has none of ${prompts}`);
        for (const prompt of kept) await check(engine, tensors, prompt, chunk);
      }
    });
  }
}

async function check(
  engine: Engine,
  tensors: ReadonlyMap<string, HostTensor>,
  prompt: string,
  chunk: number,
): Promise<void> {
  const what = `${prompt} in steps of ${chunk}`;
  const ids = numbers(tensors, `${prompt}.input_ids`);
  const expected = numbers(tensors, `${prompt}.logits`);
  const logits = await engine.logits(Int32Array.from(ids));
  assert.equal(logits.length, expected.length, what);
  const largest = Math.max(...expected.map(Math.abs));
  const worst = Math.max(...expected.map((each, i) => Math.abs(each - logits[i])));
  assert.ok(worst <= TOLERANCES.logitsF32 * largest, `${what}: off by ${worst} of ${largest}`);
  const continuation = numbers(tensors, `${prompt}.greedy`);
  const greedy: number[] = [];
  const options = { maxNewTokens: continuation.length, temperature: 0, ignoreEos: true };
  for await (const { token } of engine.generate(ids, options)) greedy.push(token);
  assert.deepEqual(greedy, continuation, what);
}
