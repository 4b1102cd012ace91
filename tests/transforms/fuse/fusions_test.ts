import assert from "node:assert/strict";
import {
  cast,
  type Graph,
  GraphBuilder,
  isOp,
  type OpName,
  printGraph,
  quantize,
  tensor,
  type Value,
} from "../../../graph/mod.ts";
import { EagerBlocks } from "../../support/eager_blocks.ts";
import {
  apply,
  applyAndCompare,
  difference,
  runOnCpu,
  steps,
} from "../../support/run_transforms.ts";

/** A graph from x [T, 8] with the named results. */
function graphOf(build: (blocks: EagerBlocks, x: Value) => Record<string, Value>): EagerBlocks {
  const blocks = new EagerBlocks("fusion");
  const x = blocks.b.input("x", { dtype: "f32", shape: ["T", 8] });
  const results = blocks.b.within("m", () => build(blocks, x));
  for (const [name, value] of Object.entries(results)) blocks.graph.setOutput(name, value);
  return blocks;
}

const ops = (graph: Graph): OpName[] => graph.nodes.map(({ op }) => op);

/** `rms_norm`, as after matching. */
function rmsNorm(blocks: EagerBlocks, x: Value, name = "norm"): Value {
  const size = Number(x.shape[x.shape.length - 1]);
  return blocks.b.op("rms_norm", { x, w: blocks.weight(name, [size]) }, { eps: 1e-6 });
}

Deno.test("fuse_gemms joins layers of one input, with zeros for missing biases", async () => {
  const blocks = graphOf((blocks, x) => ({
    q: blocks.linear(x, "q_proj", 6, true),
    k: blocks.linear(x, "k_proj", 4),
    other: blocks.linear(blocks.b.op("neg", { x }), "other", 4),
  }));
  const { fuse_gemms: record } = await applyAndCompare(blocks, steps("fuse_gemms"));
  assert.equal(record.num_matches, 1);
  assert.deepEqual(ops(blocks.graph), ["linear", "slice", "slice", "neg", "linear"]);
  assert.match(printGraph(blocks.graph), /@m\.q_proj\+k_proj\.weight : f32\[10, 8\] = concat\(/);
});

Deno.test("fuse_gemms says that weights of different types stay apart", async () => {
  const { graph } = graphOf((blocks, x) => ({
    q: blocks.linear(x, "q_proj", 6),
    k: blocks.b.op("linear", { x, w: blocks.b.weight("k", tensor("k", "bf16", [4, 8])) }),
  }));
  const { fuse_gemms: record } = await apply(graph, steps("fuse_gemms"));
  assert.equal(record.num_matches, 0);
  assert.deepEqual(record.nearMisses, [
    {
      node: "m.q_proj (linear)",
      reason: "its readers have weights of different formats: f32 and bf16",
    },
  ]);
});

/** An int8 layer whose codes and scales are in the checkpoint. */
function packed(b: GraphBuilder, x: Value, name: string, rows: number, second = false): Value {
  return b.op("linear", {
    x,
    w: b.weight(name, tensor(name, second ? "u8" : "i8", [rows, second ? 4 : 8])),
    w_scale: b.weight(
      `${name}_scale`,
      second ? tensor(`${name}_s`, "f8_e4m3", [rows, 1]) : tensor(`${name}_s`, "f32", [rows, 1]),
    ),
    w_scale_2: second ? b.weight(`${name}_scale_2`, tensor(`${name}_t`, "f32", [1])) : undefined,
  }, { format: second ? "nvfp4" : "int8", block: second ? [1, 16] : [1, 8] });
}

Deno.test("fuse_gemms joins packed weights with their scales where these end with the rows", async () => {
  const { graph } = graphOf(({ b }, x) => ({
    q: packed(b, x, "q", 6),
    k: packed(b, x, "k", 4),
  }));
  await apply(graph, steps("fuse_gemms"));
  const joined = graph.nodes.find((node) => isOp(node, "linear"));
  assert.ok(isOp(joined, "linear"));
  assert.deepEqual(joined.attrs, { format: "int8", block: [1, 8] });
  assert.equal([joined.inputs.w_scale].flat()[0]?.shape.join(), "10,1");

  const { graph: apart } = graphOf(({ b }, x) => ({
    q: packed(b, x, "q", 6, true),
    k: packed(b, x, "k", 4, true),
  }));
  const { fuse_gemms: record } = await apply(apart, steps("fuse_gemms"));
  assert.deepEqual(record.nearMisses, [
    { node: "m (linear)", reason: "its nvfp4 weight has a scale of the whole matrix" },
  ]);
});

Deno.test("fuse_gemms joins weights with one scale each, which is repeated for their rows", async () => {
  const blocks = graphOf((blocks, x) => {
    const quantized = (name: string, rows: number) => {
      const { weight } = blocks.weight(name, [rows, 8]);
      assert.ok(weight);
      return blocks.b.op("linear", {
        x,
        w: blocks.b.weight(`${name}_codes`, quantize("fp8_e4m3", "payload", weight)),
        w_scale: blocks.b.weight(`${name}_scale`, quantize("fp8_e4m3", "scale", weight)),
      }, { format: "fp8_e4m3", block: [rows, 8] });
    };
    return { q: quantized("q", 12), k: quantized("k", 4), v: quantized("v", 8) };
  });
  const { fuse_gemms: record } = await applyAndCompare(blocks, steps("fuse_gemms"));
  assert.equal(record.num_matches, 1);
  const joined = blocks.graph.nodes.find((node) => isOp(node, "linear"));
  assert.ok(isOp(joined, "linear"));
  assert.deepEqual(joined.attrs, { format: "fp8_e4m3", block: [4, 8] });
  assert.equal([joined.inputs.w_scale].flat()[0]?.shape.join(), "6,1");
});

Deno.test("fuse_rmsnorm moves a norm into every layer that reads it", async () => {
  const blocks = graphOf((blocks, x) => {
    const normed = rmsNorm(blocks, x);
    return { a: blocks.linear(normed, "a", 4, true), b: blocks.linear(normed, "b", 6) };
  });
  await applyAndCompare(blocks, steps("fuse_rmsnorm"));
  assert.deepEqual(ops(blocks.graph), ["fused_linear", "fused_linear"]);
});

Deno.test("fuse_rmsnorm keeps format and scales of a packed layer", async () => {
  const { graph } = graphOf((blocks, x) => ({
    y: blocks.b.op("add", { a: x, b: packed(blocks.b, rmsNorm(blocks, x), "w", 8) }),
  }));
  await apply(graph, steps("fuse_rmsnorm", "fuse_residual"));
  const [linear, ...others] = graph.nodes;
  assert.ok(isOp(linear, "fused_linear") && others.length === 0);
  assert.deepEqual(linear.attrs, { format: "int8", block: [1, 8], normEps: 1e-6 });
  assert.ok(linear.inputs.w_scale && linear.inputs.residual && linear.inputs.norm_weight);
});

Deno.test("fuse_rmsnorm gives the router's normed value to readers in front of it", async () => {
  const blocks = graphOf((blocks, x) => {
    const normed = rmsNorm(blocks, x);
    const shared = blocks.b.op("neg", { x: normed });
    const { selected, routing } = blocks.router(normed, 4, 2);
    return { shared, routing, selected };
  });
  await applyAndCompare(blocks, steps("match_router_pattern", "fuse_rmsnorm"));
  assert.deepEqual(ops(blocks.graph), ["moe_router", "neg"]);
});

Deno.test("fuse_rmsnorm leaves a norm that others read, and says who", async () => {
  const blocks = graphOf((blocks, x) => {
    const normed = rmsNorm(blocks, x);
    return { a: blocks.linear(normed, "a", 4), b: blocks.b.op("neg", { x: normed }) };
  });
  const { fuse_rmsnorm: record } = await applyAndCompare(
    blocks,
    steps(["fuse_rmsnorm", { rmsnorm_backend: "flashinfer" }]),
  );
  assert.deepEqual(record.nearMisses, [
    { node: "m (rms_norm)", reason: "besides linear layers, neg reads it" },
  ]);
  assert.deepEqual(record.notes, [
    'rmsnorm_backend "flashinfer" names a CUDA kernel: WebGPU has one implementation, which is used',
  ]);
});

Deno.test("fuse_residual gives a chain of sums an op for each addition", async () => {
  const blocks = graphOf((blocks, x) => {
    const { b } = blocks;
    const shared = b.within("shared", () => blocks.mlp(x, { intermediate: 6 }));
    const routed = blocks.linear(b.op("neg", { x }), "routed", 8);
    return { y: b.op("add", { a: x, b: b.op("add", { a: routed, b: shared }) }) };
  });
  const list = steps("match_swiglu_pattern", "fuse_residual");
  const { fuse_residual: record } = await applyAndCompare(blocks, list);
  assert.equal(record.num_matches, 2);
  assert.deepEqual(ops(blocks.graph), ["neg", "fused_linear", "gated_mlp"]);
});

Deno.test("fuse_residual leaves an operand that has other readers, and says so", async () => {
  const blocks = graphOf((blocks, x) => {
    const made = blocks.linear(x, "w", 8);
    return { y: blocks.b.op("add", { a: x, b: made }), z: blocks.b.op("neg", { x: made }) };
  });
  const { fuse_residual: record } = await applyAndCompare(blocks, steps("fuse_residual"));
  assert.deepEqual(record.nearMisses, [
    { node: "m (add)", reason: "the result of linear has other readers" },
  ]);
});

Deno.test("fuse_residual leaves sums that broadcast", async () => {
  const blocks = graphOf((blocks, x) => {
    const { b } = blocks;
    const row = b.op("mean", { x }, { dim: -1, keepdim: true });
    return { y: b.op("add", { a: row, b: blocks.linear(x, "w", 8) }) };
  });
  await applyAndCompare(blocks, steps("fuse_residual"));
  assert.ok(ops(blocks.graph).includes("add"));
});

Deno.test("fuse_add_rms_norm makes the norm and the sum in one op", async () => {
  const blocks = graphOf((blocks, x) => {
    const sum = blocks.b.op("add", {
      a: x,
      b: blocks.b.op("neg", { x: rmsNorm(blocks, x, "n0") }),
    });
    return { normed: rmsNorm(blocks, sum, "n1"), sum };
  });
  await applyAndCompare(blocks, steps("fuse_add_rms_norm"));
  assert.deepEqual(ops(blocks.graph), ["rms_norm", "neg", "add_rms_norm"]);
});

Deno.test("gather_logits_before_lm_head picks rows in front of norm and head, keeps what follows", async () => {
  const blocks = graphOf((blocks, x) => {
    const { b } = blocks;
    const logits = blocks.linear(rmsNorm(blocks, x), "lm_head", 12);
    return { logits: b.op("div", { a: logits, b: b.scalar(4) }) };
  });
  const before = (await runOnCpu(blocks.graph, blocks.tensors, 5)).logits;
  await apply(blocks.graph, steps("gather_logits_before_lm_head"));
  assert.deepEqual(ops(blocks.graph), ["gather_rows", "rms_norm", "linear", "div"]);
  assert.equal(blocks.graph.outputs.get("logits")?.shape.join(), "R,12");
  const after = (await runOnCpu(blocks.graph, blocks.tensors, 5)).logits;
  assert.ok(difference(after, before) < 1e-6);
});

Deno.test("gather_logits_before_lm_head says what else reads the head's input", async () => {
  const { graph } = graphOf((blocks, x) => {
    const logits = blocks.linear(x, "lm_head", 12);
    return { logits: blocks.b.op("neg", { x: logits }), raw: blocks.b.op("cos", { x: logits }) };
  });
  const text = printGraph(graph);
  const records = await apply(graph, steps("gather_logits_before_lm_head"));
  assert.deepEqual(records.gather_logits_before_lm_head.nearMisses, [
    { node: "m.lm_head (linear)", reason: "something besides the logits reads it" },
  ]);
  assert.equal(printGraph(graph), text);
});

Deno.test("fuse_gemms reads no weight: expressions stay lazy", async () => {
  const { graph } = graphOf(({ b }, x) => {
    const half = (name: string) =>
      b.op("linear", { x, w: b.weight(name, cast(tensor(name, "bf16", [2, 8]), "f32")) });
    return { a: half("a"), b: half("b") };
  });
  await apply(graph, steps("fuse_gemms"));
  assert.match(printGraph(graph), /= concat\(cast<f32>\(a\), cast<f32>\(b\)\)/);
});
