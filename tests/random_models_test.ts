/**
 * Models of random configs: the fused graph on the CPU and on WebGPU against the eager graph on the CPU.
 * MIXLINE_CASES sets how many of each architecture are tried; MIXLINE_SEED where to begin. Without them
 * WebGPU computes a few architectures alone: their golden models go there anyway.
 */

import assert from "node:assert/strict";
import { type Graph, invariant } from "../graph/mod.ts";
import { findArchitecture, type Model, normalizeConfig } from "../models/mod.ts";
import { type Executor, openCpuExecutor } from "../runtime/mod.ts";
import { optimize } from "../transforms/mod.ts";
import { webgpuTest } from "./support/adapter.ts";
import { Dice } from "./support/dice.ts";
import { FabricatedCheckpoint } from "./support/fabricated_checkpoint.ts";
import { defaultSteps } from "./support/language_model.ts";
import { RANDOM_FAMILIES, randomConfig } from "./support/random_configs.ts";
import { withSharedExecutor } from "./support/shared_executor.ts";
import { relativeError, TOLERANCES } from "./support/tolerances.ts";

const CASES = Number(Deno.env.get("MIXLINE_CASES") ?? 1);
const SEED = Number(Deno.env.get("MIXLINE_SEED") ?? 1);
const PAGES = 4;
/** One in so many architectures goes to WebGPU when no number of cases is asked for. */
const FEW = 12;

/** A model of a random config with random weights, and some tokens. */
function makeModel(architecture: string, seed: number) {
  const raw = normalizeConfig(randomConfig(architecture, seed), "config.json");
  const found = findArchitecture(raw, "config.json");
  const { config, notes, build } = found.configure(raw, "config.json");
  const dice = new Dice(seed + 1);
  const dtype = dice.pick(["f32", "f16", "bf16"] as const);
  const checkpoint = new FabricatedCheckpoint(found.name, dtype, seed);
  const model = {
    ...{ path: "fabricated", name: architecture, architecture: found, config, checkpoint, notes },
    ...{ quantization: undefined, bytes: 0, chatTemplate: undefined },
    build: (options) => build(checkpoint, undefined, options),
  } as Partial<Model> as Model;
  const tokens = Array.from(
    { length: dice.from(9, 20) },
    () => dice.from(0, config.vocab_size - 1),
  );
  return { model, tokens, checkpoint };
}

async function fuse(model: Model, backend: string, executor?: Executor): Promise<Graph> {
  const profile = executor && "device" in executor ? Reflect.get(executor, "device") : undefined;
  const { graph } = await optimize({
    steps: await defaultSteps({
      fuse_moe: { backend },
      insert_cached_attention: { cache_dtype: "f32" },
    }),
    context: {
      model,
      target: profile
        ? { executor: "webgpu", profile: Reflect.get(profile, "profile") }
        : { executor: "cpu" },
      settings: { maxSeqLen: 64, maxBatchSize: 1, maxNumTokens: 32 },
      log() {},
    },
  });
  return graph;
}

/** Logits of all tokens, which come in two steps; eager graphs take them in one. */
async function logits(
  executor: Executor,
  graph: Graph,
  checkpoint: FabricatedCheckpoint,
  tokens: readonly number[],
): Promise<number[]> {
  const cached = graph.caches.length > 0;
  const program = await executor.compile(graph, {
    source: checkpoint,
    ...{ maxTokens: 32, maxSequences: 1, pages: cached ? PAGES : 0, maxPagesPerSequence: PAGES },
  });
  const cut = cached ? Math.floor(tokens.length / 2) : tokens.length;
  const all: number[] = [];
  for (const [start, end] of [[0, cut], [cut, tokens.length]]) {
    if (start === end) continue;
    const size = end - start;
    const { logits: rows } = await program.run({
      token_ids: Int32Array.from(tokens.slice(start, end)),
      positions: Int32Array.from({ length: size }, (_, i) => start + i),
      ...(cached && {
        sequence_ids: new Int32Array(size),
        block_table: Int32Array.from({ length: PAGES }, (_, i) => PAGES - 1 - i),
      }),
      ...(graph.inputs.some(({ name }) => name === "logits_rows") && {
        logits_rows: Int32Array.from({ length: size }, (_, i) => i),
      }),
    }, { T: size, R: size, S: 1, P: PAGES });
    all.push(...rows);
  }
  program.dispose();
  return all;
}

async function compare(executor: Executor, architecture: string, backend: string): Promise<void> {
  for (let seed = SEED; seed < SEED + CASES; seed++) {
    const { model, tokens, checkpoint } = makeModel(architecture, seed);
    const cpu = openCpuExecutor();
    const expected = await logits(cpu, model.build({ maxSeqLen: 64 }).graph, checkpoint, tokens);
    cpu.dispose();
    invariant(expected.every(Number.isFinite), `seed ${seed} has infinite logits`);
    const graph = await fuse(model, backend, executor);
    const got = await logits(executor, graph, checkpoint, tokens);
    const error = relativeError(got, expected);
    const config = JSON.stringify(randomConfig(architecture, seed));
    assert.ok(error < TOLERANCES.logitsF32, `seed ${seed} is off by ${error}: ${config}`);
  }
}

for (const [i, architecture] of RANDOM_FAMILIES.entries()) {
  Deno.test(`the fused graph of random ${architecture} computes what the eager one does`, async () => {
    await compare(openCpuExecutor(), architecture, "auto");
  });

  if (i % FEW !== 0 && !Deno.env.has("MIXLINE_CASES")) continue;
  webgpuTest(`random ${architecture} on WebGPU compute what the eager graph does`, async () => {
    const backend = i % 2 === 0 ? "triton" : "trtllm";
    await withSharedExecutor((executor) => compare(executor, architecture, backend));
  });
}
