import assert from "node:assert/strict";
import { Graph, GraphBuilder, isOp, type OpName, printGraph } from "../../../graph/mod.ts";
import { type AttentionForm, attentionLayer } from "../../support/eager_attention.ts";
import { apply, applyAndCompare, difference, steps } from "../../support/run_transforms.ts";
import { logitsOf } from "../../support/language_model.ts";
import { memorySource } from "../../support/host_tensors.ts";
import { TOLERANCES } from "../../support/tolerances.ts";

const MATCHERS = [
  "match_repeat_kv",
  "match_eager_attention",
  "match_grouped_attention",
  "match_rope_pattern",
  "match_rmsnorm_pattern",
];
const CACHE = [
  ["insert_cached_attention", { cache_dtype: "f32" }],
  "initialize_cache",
  "compile_model",
] as const;

const count = (graph: Graph, op: OpName) => graph.nodes.filter((node) => node.op === op).length;

const FORMS: Record<string, AttentionForm> = {
  "rotate-half": {},
  "operands exchanged": { swapped: true },
  "norm of every head": { norm: "head" },
  "norm of all heads, clamp behind it": { norm: "all", clip: "after" },
  "norm of every head, clamp behind it": { norm: "head", clip: "after" },
  "clamp alone": { clip: "before" },
  "half of a head turns": { rope: "partial" },
  "scaled cos and sin": { attentionScaling: 1.25 },
  "no RoPE": { rope: "none" },
  "scores divided": { scale: "scores over" },
  "q scaled": { scale: "q times" },
  "sliding window": { mask: "window" },
  "as many key heads as heads": { kvHeads: 4 },
  "one key head": { kvHeads: 1 },
  "biases": { biases: true },
};

for (const [name, form] of Object.entries(FORMS)) {
  Deno.test(`attention becomes one cached op with everything inside: ${name}`, async () => {
    const { graph, tensors } = attentionLayer(form);
    graph.setOutput("logits", [...graph.outputs.values()][0]);
    const source = memorySource(tensors);
    const run = () => logitsOf(asLanguageModel(graph), source, [...TOKENS]);
    const eager = await run();
    const records = await apply(graph, steps(...MATCHERS));
    assert.equal(records.match_eager_attention.num_matches, 1);
    assert.equal(count(graph, "attention"), 1);
    assert.equal(count(graph, "matmul") + count(graph, "softmax") + count(graph, "repeat_kv"), 0);
    assert.equal(count(graph, "rope"), form.rope === "none" ? 0 : 2);
    assert.equal(count(graph, "cos") + count(graph, "sin"), 0);
    assert.ok(difference(await run(), eager) <= TOLERANCES.reordered * 10);
    const { insert_cached_attention: record } = await apply(graph, steps("fuse_gemms", ...CACHE));
    assert.deepEqual(record.nearMisses, []);
    assert.deepEqual(
      graph.nodes.map(({ op }) => op),
      ["linear", "cached_attention", "linear"],
    );
    const [, attention] = graph.nodes;
    assert.ok(isOp(attention, "cached_attention") && attention.inputs.qkv);
    assert.equal(attention.attrs.window, form.mask === "window" ? 3 : undefined);
    assert.ok(difference(await run(), eager) <= TOLERANCES.reordered * 10);
  });
}

Deno.test("insert_cached_attention takes q, k and v apart when fuse_gemms did not join them", async () => {
  const { graph } = attentionLayer({ norm: "head" });
  await apply(graph, steps(...MATCHERS, ...CACHE));
  const attention = graph.nodes.find((node) => isOp(node, "cached_attention"));
  assert.ok(attention?.inputs.q && attention.inputs.k && attention.inputs.v);
  assert.equal(count(graph, "transpose") + count(graph, "reshape") + count(graph, "rms_norm"), 0);
});

const PARTLY: Record<string, { form: AttentionForm; outside: OpName[]; reason: string }> = {
  "RoPE of q alone": {
    form: { rope: "only q" },
    outside: ["rope"],
    reason: "q and k have different RoPE: it stays outside the kernel",
  },
  "norm of q alone": {
    form: { norm: "only q" },
    outside: ["rms_norm"],
    reason: "q, k and v are normed differently: it stays outside the kernel",
  },
  "clamp in front of the norm": {
    form: { norm: "all", clip: "before" },
    outside: ["clamp"],
    reason: "q, k and v are clamped differently: it stays outside the kernel",
  },
};

for (const [name, { form, outside, reason }] of Object.entries(PARTLY)) {
  Deno.test(`insert_cached_attention leaves outside what does not fit: ${name}`, async () => {
    const { graph, tensors } = attentionLayer(form);
    graph.setOutput("logits", [...graph.outputs.values()][0]);
    const run = () => logitsOf(asLanguageModel(graph), memorySource(tensors), [...TOKENS]);
    const eager = await run();
    const { insert_cached_attention: record } = await apply(graph, steps(...MATCHERS, ...CACHE));
    assert.equal(record.num_matches, 1);
    assert.deepEqual(record.nearMisses.map((miss) => miss.reason), [reason]);
    for (const op of outside) assert.ok(count(graph, op) > 0, `${op} is gone`);
    assert.ok(difference(await run(), eager) <= TOLERANCES.reordered * 10);
  });
}

Deno.test("match_eager_attention needs a mask and says so", async () => {
  const blocks = attentionLayer({ mask: "none" });
  const records = await applyAndCompare(blocks, steps(...MATCHERS));
  assert.deepEqual(records.match_eager_attention.nearMisses, [
    { node: "model.layers.0.self_attn (softmax)", reason: "no mask is added before it" },
  ]);
  assert.equal(count(blocks.graph, "attention"), 0);
});

Deno.test("match_grouped_attention says when only keys are repeated", async () => {
  const b = new GraphBuilder(new Graph("g"), { scope: "attn" });
  const head = (name: string, heads: number) =>
    b.input(name, { dtype: "f32", shape: [heads, "T", 4] });
  const positions = b.input("positions", { dtype: "i32", shape: ["T"] });
  const k = b.op("repeat_kv", { x: head("k", 2) }, { repeats: 2 });
  const attention = { q: head("q", 4), k, v: head("v", 4), positions };
  b.graph.setOutput("y", b.op("attention", attention, { scale: 1 }));
  const text = printGraph(b.graph);
  const { match_grouped_attention: record } = await apply(
    b.graph,
    steps("match_grouped_attention"),
  );
  assert.deepEqual(record.nearMisses, [
    { node: "attn (attention)", reason: "its v does not come from repeat_kv" },
  ]);
  assert.equal(printGraph(b.graph), text);
});

Deno.test("insert_cached_attention keeps apart two layers of one scope", async () => {
  const { b, graph } = attentionLayer();
  const [x] = graph.inputs;
  const heads = b.op("transpose", {
    x: b.op("reshape", { x }, { shape: ["T", 2, 8] }),
  }, { dims: [0, 1] });
  const positions = graph.inputs[1];
  for (const name of ["first", "second"]) {
    const y = b.op("attention", { q: heads, k: heads, v: heads, positions }, { scale: 1 });
    graph.setOutput(name, y);
  }
  await apply(graph, steps(...MATCHERS, ...CACHE));
  assert.equal(new Set(graph.caches.map(({ name }) => name)).size, 3);
  assert.equal(graph.outputs.get("first")?.shape.join(), "2,T,8");
});

Deno.test("compile_model refuses attention without a cache", async () => {
  const { graph } = attentionLayer();
  const list = steps(...MATCHERS, "insert_cached_attention", "compile_model");
  await assert.rejects(apply(graph, list), {
    code: "transform/refused",
    message:
      'Cannot run transform "compile_model" on "model.layers.0.self_attn (cached_attention)": it has no cache; enable initialize_cache',
  });
});

Deno.test("the cache's transforms write down pages, types and memory for the runtime", async () => {
  const { graph } = attentionLayer({ mask: "window" });
  await apply(
    graph,
    steps(
      ...MATCHERS,
      ["insert_cached_attention", { cache_dtype: "f32", backend: "triton" }],
      ["initialize_cache", { page_size: 32 }],
      ["resize_kv_cache", { free_mem_ratio: 0.5 }],
      ["compile_model", { cuda_graph_batch_sizes: [4, 1] }],
    ),
  );
  assert.deepEqual(graph.caches, [{
    name: "model.layers.0.self_attn",
    kvHeads: 2,
    headDim: 8,
    dtype: "f32",
    pageSize: 32,
    window: 3,
  }]);
  assert.deepEqual(graph.meta, {
    cache: { dtype: "f32", pageSize: 32, freeMemRatio: 0.5 },
    compile: { token_ranges: [1, 4] },
  });
});

/** Stands for token ids: the graphs here take x, made of them below. */
const TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3] as const;

/** The graph with x looked up in a table of constants by token id. */
function asLanguageModel(graph: Graph): Graph {
  const model = new Graph("lm");
  model.restore(graph.snapshot());
  const x = graph.inputs.find(({ name }) => name === "x");
  assert.ok(x);
  const table = Float32Array.from({ length: 10 * 16 }, (_, i) => Math.sin(i * 1.7));
  const [first] = model.nodes;
  const b = new GraphBuilder(model, { before: first });
  const ids = b.input("token_ids", { dtype: "i32", shape: ["T"] });
  const w = b.weight("table", { kind: "constant", dtype: "f32", shape: [10, 16], data: table });
  model.replaceAllUses(x, b.op("embedding", { ids, w }));
  const snapshot = model.snapshot();
  model.restore({ ...snapshot, inputs: snapshot.inputs.filter((input) => input !== x) });
  return model;
}
