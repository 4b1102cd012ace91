import assert from "node:assert/strict";
import { isOp, printGraph, type Value } from "../../../graph/mod.ts";
import { EagerBlocks } from "../../support/eager_blocks.ts";
import { apply, applyAndCompare, steps } from "../../support/run_transforms.ts";

/** A graph from x [T, 8] to y. */
function graphOf(build: (blocks: EagerBlocks, x: Value) => Value): EagerBlocks {
  const blocks = new EagerBlocks("norms");
  const x = blocks.b.input("x", { dtype: "f32", shape: ["T", 8] });
  blocks.graph.setOutput("y", blocks.b.within("m", () => build(blocks, x)));
  return blocks;
}

/** How a norm is written. */
interface NormForm {
  readonly exponent?: number;
  /** The mean over this dimension. */
  readonly dim?: number;
  /** Another value is squared, or its mean taken away, than the one that is normed. */
  readonly other?: boolean;
  readonly swapped?: boolean;
  readonly bias?: "before" | "behind" | "of another size";
  /** The norm without its bias is an output too. */
  readonly read?: boolean;
}

function l2Norm({ b }: EagerBlocks, x: Value, form: NormForm): Value {
  const squared = form.other ? b.op("neg", { x }) : x;
  const square = b.op("pow", { x: squared }, { exponent: form.exponent ?? 2 });
  const mean = b.op("mean", { x: square }, { dim: form.dim ?? -1, keepdim: true });
  const scale = b.op("rsqrt", { x: b.op("add", { a: mean, b: b.scalar(1e-4) }) });
  return b.op("mul", form.swapped ? { a: scale, b: x } : { a: x, b: scale });
}

function layerNorm(blocks: EagerBlocks, x: Value, form: NormForm): Value {
  const { b } = blocks;
  const of = form.other ? b.op("neg", { x }) : x;
  const mean = b.op("mean", { x: of }, { dim: form.dim ?? -1, keepdim: true });
  const normed = blocks.rmsNorm(b.op("sub", { a: x, b: mean }), "norm", 1e-5);
  if (form.read) blocks.graph.setOutput("normed", normed);
  if (!form.bias) return normed;
  const bias = blocks.weight("bias", [form.bias === "of another size" ? 1 : 8]);
  return b.op("add", form.bias === "before" ? { a: bias, b: normed } : { a: normed, b: bias });
}

const ops = ({ graph }: EagerBlocks) => graph.nodes.map(({ op }) => op);

for (const form of [{}, { swapped: true }, { dim: 1 }] satisfies NormForm[]) {
  Deno.test(`match_l2norm_pattern finds a norm without weight: ${JSON.stringify(form)}`, async () => {
    const blocks = graphOf((blocks, x) => l2Norm(blocks, x, form));
    await applyAndCompare(blocks, steps("match_rmsnorm_pattern", "match_l2norm_pattern"));
    const [norm, ...others] = blocks.graph.nodes;
    assert.ok(isOp(norm, "l2_norm") && others.length === 0, printGraph(blocks.graph));
    assert.equal(norm.attrs.eps, 1e-4);
  });
}

const NOT_L2: readonly [NormForm, string][] = [
  [{ exponent: 3 }, "m (pow): it is not the square of what the norm scales"],
  [{ other: true }, "m (pow): it is not the square of what the norm scales"],
  [{ dim: 0 }, "m (mean): it is not a mean over the last dimension that keeps it"],
];

for (const [form, reason] of NOT_L2) {
  Deno.test(`match_l2norm_pattern says why it is none: ${JSON.stringify(form)}`, async () => {
    const { graph } = graphOf((blocks, x) => l2Norm(blocks, x, form));
    const text = printGraph(graph);
    const { match_l2norm_pattern: record } = await apply(graph, steps("match_l2norm_pattern"));
    const misses = record.nearMisses.map(({ node, reason }) => `${node}: ${reason}`);
    assert.deepEqual(misses, [reason]);
    assert.equal(printGraph(graph), text);
  });
}

const LAYER = steps("match_rmsnorm_pattern", "match_layernorm_pattern");

for (const form of [{}, { bias: "behind" }, { bias: "before" }] satisfies NormForm[]) {
  Deno.test(`match_layernorm_pattern takes the bias with it: ${JSON.stringify(form)}`, async () => {
    const blocks = graphOf((blocks, x) => layerNorm(blocks, x, form));
    await applyAndCompare(blocks, LAYER);
    const [norm, ...others] = blocks.graph.nodes;
    assert.ok(isOp(norm, "layer_norm") && others.length === 0, printGraph(blocks.graph));
    assert.equal(norm.attrs.eps, 1e-5);
    assert.equal(norm.inputs.bias !== undefined, "bias" in form);
  });
}

for (
  const form of [
    { bias: "of another size" },
    { bias: "behind", read: true },
  ] satisfies NormForm[]
) {
  Deno.test(`match_layernorm_pattern leaves what is no bias of its own: ${JSON.stringify(form)}`, async () => {
    const blocks = graphOf((blocks, x) => layerNorm(blocks, x, form));
    await applyAndCompare(blocks, LAYER);
    assert.deepEqual(ops(blocks), ["layer_norm", "add"]);
  });
}

for (const form of [{ other: true }, { dim: 0 }] satisfies NormForm[]) {
  Deno.test(`match_layernorm_pattern leaves other norms of differences: ${JSON.stringify(form)}`, async () => {
    const blocks = graphOf((blocks, x) => layerNorm(blocks, x, form));
    const records = await applyAndCompare(blocks, LAYER);
    assert.equal(records.match_layernorm_pattern.num_matches, 0);
    assert.ok(ops(blocks).includes("rms_norm"));
  });
}

Deno.test("match_l2norm_pattern and match_layernorm_pattern leave a plain RMSNorm alone", async () => {
  const blocks = graphOf((blocks, x) => blocks.rmsNorm(x));
  const list = steps("match_rmsnorm_pattern", "match_l2norm_pattern", "match_layernorm_pattern");
  const records = await applyAndCompare(blocks, list);
  assert.deepEqual(ops(blocks), ["rms_norm"]);
  assert.deepEqual(records.match_l2norm_pattern.nearMisses, []);
  assert.deepEqual(records.match_layernorm_pattern.nearMisses, []);
});
