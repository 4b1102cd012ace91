import assert from "node:assert/strict";
import { ACTIVATION_NAMES, type GraphBuilder, isOp, type Value } from "../../../graph/mod.ts";
import { EagerBlocks } from "../../support/eager_blocks.ts";
import { apply, applyAndCompare, steps } from "../../support/run_transforms.ts";

/** A graph from x [T, 8] to y. */
function graphOf(build: (blocks: EagerBlocks, x: Value) => Value): EagerBlocks {
  const blocks = new EagerBlocks("dense");
  const x = blocks.b.input("x", { dtype: "f32", shape: ["T", 8] });
  blocks.graph.setOutput("y", blocks.b.within("m", () => build(blocks, x)));
  return blocks;
}

const ops = ({ graph }: EagerBlocks) => graph.nodes.map(({ op }) => op);

Deno.test("cleanup_noop_slice removes slices of everything, whatever their end", async () => {
  const whole = graphOf(({ b }, x) => {
    const first = b.op("slice", { x }, { dim: 1, start: 0 });
    const second = b.op("slice", { x: first }, { dim: 0, start: 0 });
    return b.op("slice", { x: second }, { dim: -1, start: 0, end: 2 ** 31 });
  });
  const record = (await applyAndCompare(whole, steps("cleanup_noop_slice"))).cleanup_noop_slice;
  assert.equal(record.num_matches, 3);
  assert.deepEqual(ops(whole), []);
  const part = graphOf(({ b }, x) => b.op("slice", { x }, { dim: 1, start: 0, end: 7 }));
  await applyAndCompare(part, steps("cleanup_noop_slice"));
  assert.deepEqual(ops(part), ["slice"]);
});

Deno.test("cleanup_noop_add removes zeros unless they make the result larger", async () => {
  const plain = graphOf(({ b }, x) => {
    const zeros = b.op("zeros_like", { x });
    return b.op("add", { a: b.scalar(0), b: b.op("add", { a: x, b: zeros }) });
  });
  await applyAndCompare(plain, steps("cleanup_noop_add"));
  assert.deepEqual(ops(plain), []);
  const broadcast = graphOf(({ b }, x) => {
    const row = b.op("mean", { x }, { dim: -1, keepdim: true });
    return b.op("add", { a: row, b: b.op("zeros_like", { x }) });
  });
  const record = (await applyAndCompare(broadcast, steps("cleanup_noop_add"))).cleanup_noop_add;
  assert.deepEqual(record.nearMisses, [{
    node: "m (add)",
    reason: "the zeros broadcast the other operand to a larger shape",
  }]);
  assert.ok(ops(broadcast).includes("add"));
});

Deno.test("match_rmsnorm_pattern finds the norm and its epsilon", async () => {
  const blocks = graphOf((blocks, x) => blocks.rmsNorm(x, "norm", 1e-5));
  await applyAndCompare(blocks, steps("match_rmsnorm_pattern"));
  const [norm, ...others] = blocks.graph.nodes;
  assert.ok(isOp(norm, "rms_norm") && others.length === 0);
  assert.equal(norm.attrs.eps, 1e-5);
});

Deno.test("matchers take what an earlier match made, in chains of equal patterns", async () => {
  const blocks = graphOf((blocks, x) => {
    let value = x;
    for (const name of ["first", "second", "third"]) {
      value = blocks.rmsNorm(blocks.rmsNorm(value, `${name}.a`), `${name}.b`);
      value = blocks.b.within(name, () => blocks.mlp(value, { intermediate: 6 }));
    }
    return value;
  });
  await applyAndCompare(blocks, steps("match_rmsnorm_pattern", "match_swiglu_pattern"));
  const layer = ["rms_norm", "rms_norm", "gated_mlp"];
  assert.deepEqual(ops(blocks), [...layer, ...layer, ...layer]);
});

const NOT_NORMS: Record<string, [(b: GraphBuilder, x: Value, w: Value) => Value, string]> = {
  "a cube": [
    (b, x, w) => norm(b, x, w, { exponent: 3 }),
    "m (pow): its exponent is 3, not 2",
  ],
  "another value squared": [
    (b, x, w) => norm(b, x, w, { squared: b.op("neg", { x }) }),
    "m (pow): it squares a different value from the one that the norm scales",
  ],
  "a mean over tokens": [
    (b, x, w) => norm(b, x, w, { dim: 0 }),
    "m (mean): it is not a mean over the last dimension that keeps it",
  ],
  "no weight": [
    (b, x) => norm(b, x, x, {}),
    "m (mul): it does not multiply by a weight [8]",
  ],
};

for (const [name, [build, expected]] of Object.entries(NOT_NORMS)) {
  Deno.test(`match_rmsnorm_pattern says why it is none: ${name}`, async () => {
    const blocks = graphOf((blocks, x) => build(blocks.b, x, blocks.weight("w", [8])));
    const records = await apply(blocks.graph, steps("match_rmsnorm_pattern"));
    const misses = records.match_rmsnorm_pattern.nearMisses;
    assert.deepEqual(misses.map(({ node, reason }) => `${node}: ${reason}`), [expected]);
  });
}

function norm(
  b: GraphBuilder,
  x: Value,
  weight: Value,
  { exponent = 2, squared = x, dim = -1 }: { exponent?: number; squared?: Value; dim?: number },
): Value {
  const square = b.op("pow", { x: squared }, { exponent });
  const mean = b.op("mean", { x: square }, { dim, keepdim: true });
  const scale = b.op("rsqrt", { x: b.op("add", { a: mean, b: b.scalar(1e-6) }) });
  return b.op("mul", { a: b.op("mul", { a: x, b: scale }), b: weight });
}

Deno.test("match_swiglu_pattern takes dense MLPs, either operand first", async () => {
  for (const activation of ACTIVATION_NAMES) {
    for (const swapped of [false, true]) {
      const form = { intermediate: 6, activation, swapped };
      const blocks = graphOf((blocks, x) => blocks.mlp(x, form));
      await applyAndCompare(blocks, steps("match_swiglu_pattern"));
      const [mlp, ...others] = blocks.graph.nodes;
      assert.ok(isOp(mlp, "gated_mlp") && others.length === 0);
      assert.equal(mlp.attrs.activation, activation);
    }
  }
});

Deno.test("match_swiglu_pattern says why an MLP is left alone", async () => {
  const reasons: [Parameters<EagerBlocks["mlp"]>[1], string][] = [
    [{ intermediate: 6, biases: true }, 'gated_mlp has no bias, here is "m.w1.bias"'],
    [{ intermediate: 6, activation: "swiglu_oai" }, "gated_mlp has no activation swiglu_oai"],
  ];
  for (const [form, reason] of reasons) {
    const blocks = graphOf((blocks, x) => blocks.mlp(x, form));
    const records = await apply(blocks.graph, steps("match_swiglu_pattern"));
    assert.deepEqual(records.match_swiglu_pattern.nearMisses, [{ node: "m.w2 (linear)", reason }]);
  }
});

Deno.test("match_swiglu_pattern leaves experts alone that match_moe_pattern left", async () => {
  const blocks = new EagerBlocks("broken loop");
  const x = blocks.b.input("x", { dtype: "f32", shape: ["T", 8] });
  const y = blocks.b.within("mlp", () => {
    const { selected, routing } = blocks.router(x, 4, 2);
    const form = { experts: 4, topK: 2, hidden: 8, intermediate: 6, order: [0, 1, 3] };
    return blocks.experts(x, selected, routing, form);
  });
  blocks.graph.setOutput("y", y);
  const records = await applyAndCompare(blocks, steps("match_moe_pattern", "match_swiglu_pattern"));
  assert.equal(records.match_swiglu_pattern.num_matches, 0);
  assert.equal(records.match_swiglu_pattern.nearMisses.length, 3);
  assert.deepEqual(records.match_swiglu_pattern.nearMisses[0], {
    node: "mlp.experts.0.w2 (linear)",
    reason: "it is one expert of a loop that match_moe_pattern left alone",
  });
});
