/**
 * Deploying the bundled model on the CPU: what happens on the way, what it says, and what goes wrong.
 *
 * @module
 */

import assert from "node:assert/strict";
import { z } from "../../deps/zod.ts";
import type { DeployEvent } from "../../dsl/deploy.ts";
import { deploy, type Pipeline, pipeline } from "../../dsl/pipeline.ts";
import type { VerifyRow } from "../../dsl/verify.ts";
import { CheckpointError, ConfigError, GraphBuilder } from "../../graph/mod.ts";
import { defineTransform, type TransformRecord } from "../../transforms/mod.ts";
import { STORYTELLER } from "../support/model_folder.ts";
import { TOLERANCES } from "../support/tolerances.ts";
import { webgpuTest } from "../support/adapter.ts";
import { slowTest } from "../support/quick.ts";

/** The cache of a few sequences: that of 64 takes longer to allocate than the rest of a deployment. */
const CPU = { model: STORYTELLER, executor: "cpu", config: "max_batch_size: 2" } as const;
const GREEDY = { maxNewTokens: 4, temperature: 0 } as const;

/** The logits with a nonlinearity over them: what a wrong transform might do. */
const distort = defineTransform({
  key: "distort",
  stage: "post_load_fusion",
  summary: "Put a nonlinearity over the logits",
  config: z.object({}),
  plan: () => ({ matches: [1] }),
  apply(graph) {
    const logits = graph.outputs.get("logits");
    assert.ok(logits);
    graph.setOutput("logits", new GraphBuilder(graph).op("silu", { x: logits }));
  },
});

Deno.test("deploy() makes an engine, tells what happens, and reports it", async () => {
  const events: DeployEvent[] = [];
  await using engine = await deploy({ ...CPU, onProgress: (event) => events.push(event) });
  const kinds = [...new Set(events.map(({ kind }) => kind))];
  assert.deepEqual(kinds, ["model", "executor", "transform", "weights"]);
  const last = events.findLast((event) => event.kind === "weights");
  assert.equal(last?.bytes, last?.totalBytes);
  const { report } = engine;
  const keys = (report.transforms as readonly TransformRecord[]).map(({ key }) => key);
  assert.deepEqual(keys, pipeline().resolve().transforms.map(({ key }) => key));
  assert.deepEqual(report.model, {
    name: "storyteller",
    path: STORYTELLER,
    architecture: "qwen3_moe",
    bytes: (report.model as { bytes: number }).bytes,
  });
  assert.deepEqual(Object.keys(report.timings.seconds), [
    "model",
    "executor",
    "transforms",
    "weights",
  ]);
  assert.doesNotThrow(() => JSON.stringify(report));
  const text = await engine.generate("Once upon a time", GREEDY).text();
  assert.ok(text.length > 0);
});

Deno.test("deploy() lays config over the pipeline, and its own options over that", async () => {
  const lower = pipeline().settings({ maxSeqLen: 64, model: "nowhere", executor: "webgpu" });
  await using engine = await lower.deploy({
    ...CPU,
    config: ["max_seq_len: 32\nmax_batch_size: 2", pipeline().disable("fuse_moe")],
  });
  const { report } = engine;
  assert.equal((report.settings as { maxSeqLen: number }).maxSeqLen, 32);
  assert.equal(report.limits.maxSequenceTokens, 32);
  const transforms = report.transforms as readonly TransformRecord[];
  assert.equal(transforms.find(({ key }) => key === "fuse_moe")?.enabled, false);
});

Deno.test("deploy() gives the same tokens with every fusion off", async () => {
  await using fused = await deploy(CPU);
  await using plain = await pipeline().disable(
    "fuse_gemms",
    "fuse_moe",
    "fuse_rmsnorm",
    "fuse_residual",
    "insert_cached_attention",
    "initialize_cache",
    "resize_kv_cache",
  ).deploy(CPU);
  const [expected, got] = await Promise.all(
    [fused, plain].map((engine) => engine.generate("Once upon a time", GREEDY).text()),
  );
  assert.equal(got, expected);
});

slowTest("deploy({ verify }) compares the logits around every transform", async () => {
  const text = "Once upon a time there was a fox";
  await using engine = await deploy({ ...CPU, verify: text });
  const rows = engine.report.verification as readonly VerifyRow[];
  const compared = rows.filter(({ maxDifference }) => maxDifference !== undefined);
  assert.ok(compared.length > 10);
  for (const { transform, maxDifference = NaN, changedTokens } of compared) {
    const isCache = transform === "initialize_cache";
    const tolerance = isCache ? TOLERANCES.cacheF16 : TOLERANCES.logitsF32;
    assert.ok(maxDifference <= tolerance, `${transform}: ${maxDifference}`);
    assert.equal(changedTokens, 0, transform);
  }
  const cache = compared.find(({ transform }) => transform === "initialize_cache");
  assert.notEqual(cache?.maxDifference, 0, "an f16 cache rounds");
  assert.equal(cache?.against, "fuse_residual");
  const without = rows.find(({ transform }) => transform === "insert_cached_attention");
  assert.match(without?.skipped ?? "", /caches/);
});

webgpuTest("deploy({ verify }) shows what f16 operands change on the device", async () => {
  const adapter = await navigator.gpu.requestAdapter();
  if (!adapter?.features.has("shader-f16")) return;
  const [exact, halves] = await Promise.all((["f32", "f16"] as const).map(async (operands) => {
    await using engine = await pipeline().fuseMoe({ operands })
      .deploy({ ...CPU, executor: "webgpu", verify: true });
    const rows = engine.report.verification as readonly VerifyRow[];
    return rows.filter(({ transform }) => transform === "compiled program");
  }));
  assert.deepEqual(exact.map(({ against }) => against), ["the CPU", "the CPU", undefined]);
  assert.equal(halves[0].against, "the CPU with f32 operands");
  assert.equal(halves[0].step, "256 tokens in one step");
  const [off, more] = [exact, halves].map(([{ maxDifference = NaN }]) => maxDifference);
  assert.ok(off < TOLERANCES.logitsF32 && more > off && more < TOLERANCES.moeF16, `${off} ${more}`);
  assert.ok([...exact, ...halves].every(({ firstBadNode }) => firstBadNode === undefined));
});

slowTest("deploy({ verify }) shows a transform that changes what the model says", async () => {
  await using engine = await pipeline().use(distort).deploy({ ...CPU, verify: true });
  const rows = engine.report.verification as readonly VerifyRow[];
  const row = rows.find(({ transform }) => transform === "distort");
  assert.ok(row?.maxDifference !== undefined && row.maxDifference > 0.1);
  assert.ok(row.meanDivergence !== undefined && row.meanDivergence > 0.01);
});

Deno.test("deploy() says what is missing or contradicts itself", async () => {
  const cases: readonly [() => Promise<unknown>, string][] = [
    [() => pipeline().deploy({ executor: "cpu" }), "config/no-model"],
    [
      () => pipeline().deploy({ ...CPU, config: "max_num_tokens: 4\nmax_batch_size: 8" }),
      "config/step-size",
    ],
    [() => pipeline.empty().deploy(CPU), "config/no-graph"],
    [() => pipeline().deploy({ ...CPU, config: "no_such.yaml" }), "config/missing-file"],
  ];
  for (const [attempt, code] of cases) {
    await assert.rejects(attempt(), (error) => {
      assert.ok(error instanceof ConfigError, String(error));
      assert.equal(error.code, code);
      assert.ok(error.hint);
      return true;
    });
  }
  await assert.rejects(deploy({ ...CPU, model: "no/such/folder" }), CheckpointError);
});

/** What a deployment says in notes. */
async function notesOf(deployment: Pipeline, config: string): Promise<string[]> {
  const notes: string[] = [];
  const onProgress = (event: DeployEvent) => event.kind === "note" && notes.push(event.message);
  await using engine = await deployment.deploy({ ...CPU, config, onProgress });
  assert.ok(engine.vocabSize > 0);
  return notes;
}

Deno.test("deploy() lowers the default batch size to the tokens of a step, and says so", async () => {
  const notes: string[] = [];
  await using engine = await deploy({
    ...CPU,
    config: "max_num_tokens: 4",
    onProgress: (event) => event.kind === "note" && notes.push(event.message),
  });
  assert.equal(engine.report.limits.maxSequences, 4);
  assert.match(notes.join("\n"), /max_batch_size is 4/);
});

Deno.test("deploy() says once what the CPU executor does not have", async () => {
  const asked = pipeline().fuseMoe({ operands: "f16", backend: "trtllm" });
  const notes = await notesOf(asked, "max_batch_size: 2\nfree_mem_ratio: 0.5");
  const ofLayers = notes.filter((note) => note.includes("5 MoE layers"));
  assert.deepEqual(ofLayers.toSorted(), [
    "5 MoE layers ask for f16 operands: the CPU executor computes in f32",
    "5 MoE layers ask for trtllm: the CPU executor has reference alone",
  ]);
  const [memory, ...more] = notes.filter((note) => !ofLayers.includes(note));
  assert.match(memory, /free_mem_ratio has no effect/);
  assert.deepEqual(more, []);
});

Deno.test("deploy() frees everything when it is stopped halfway", async () => {
  const isFusing = (event: DeployEvent) =>
    event.kind === "transform" && event.record.key === "fuse_moe";
  const isLoading = (event: DeployEvent) => event.kind === "weights";
  for (const isNow of [isFusing, isLoading]) {
    const stop = new AbortController();
    const onProgress = (event: DeployEvent) => {
      if (isNow(event)) stop.abort();
    };
    // The test itself fails when files of the checkpoint stay open.
    const deployment = deploy({ ...CPU, signal: stop.signal, onProgress });
    await assert.rejects(deployment, { name: "AbortError" });
  }
});

Deno.test("deploy() says which accepted settings have no effect", async () => {
  const notes = await notesOf(
    pipeline(),
    `
max_batch_size: 2
attn_backend: flashinfer
compile_backend: torch-opt
transforms:
  compile_model: { piecewise_enabled: true, num_batched_inputs: 2 }
  fuse_moe: { run_per_gm: false }
  fuse_residual: { enabled: false, run_per_gm: false }
`,
  );
  assert.deepEqual(notes, [
    "fuse_moe.run_per_gm has no effect on WebGPU: there is one graph",
    "compile_model.piecewise_enabled has no effect on WebGPU: AutoDeploy's meaning does not exist here",
    'insert_cached_attention: backend "flashinfer" names a CUDA kernel: WebGPU has one paged attention, which is used',
    'compile_model: backend "torch-opt" names a PyTorch compiler: WebGPU dispatches are always prepared',
  ]);
});
