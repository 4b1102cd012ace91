import assert from "node:assert/strict";
import { isOp, MOE_ACTIVATIONS, printGraph } from "../../../graph/mod.ts";
import { type LoopForm, moeLayer } from "../../support/eager_blocks.ts";
import { apply, applyAndCompare, steps } from "../../support/run_transforms.ts";
import { assertSnapshot } from "../../support/snapshot.ts";

const SMALL = { experts: 4, topK: 2, hidden: 8, intermediate: 6 } as const;
const MATCH = steps("match_moe_pattern");

const FORMS: Record<string, Partial<LoopForm>> = {
  "routing on the input": { routingOnInput: true },
  "routing on the input, top 1": { routingOnInput: true, topK: 1 },
  "biases": { biases: true },
  "operands exchanged": { swapped: true },
  "tokens first in the mask": { tokensFirst: true },
  "plain experts": { mlp: "plain", activation: "relu2" },
  "plain experts with biases": { mlp: "plain", activation: "silu", biases: true },
  ...Object.fromEntries(MOE_ACTIVATIONS.map((activation) => [activation, { activation }])),
};

for (const [name, form] of Object.entries(FORMS)) {
  Deno.test(`match_moe_pattern makes one moe node of a loop: ${name}`, async () => {
    const blocks = moeLayer({ ...SMALL, ...form });
    const { match_moe_pattern: record } = await applyAndCompare(blocks, MATCH);
    assert.equal(record.num_matches, 1);
    assert.deepEqual(record.nearMisses, []);
    const [moe, ...others] = blocks.graph.nodes.filter((node) => isOp(node, "moe"));
    assert.equal(others.length, 0);
    assert.ok(isOp(moe, "moe"));
    assert.equal(moe.attrs.mlp, form.mlp ?? "gated");
    assert.equal(moe.attrs.activation, form.activation ?? "silu");
    assert.equal(moe.attrs.applyRoutingOnInput, form.routingOnInput ?? false);
    assert.ok(!blocks.graph.nodes.some((node) => node.op === "one_hot" || node.op === "index_add"));
  });
}

Deno.test("match_moe_pattern numbers experts by the selected class, not by graph order", async () => {
  const blocks = moeLayer({ ...SMALL, order: [2, 0, 3, 1] });
  await applyAndCompare(blocks, MATCH);
  const moe = blocks.graph.nodes.find((node) => isOp(node, "moe"));
  const names = [moe?.inputs.w1].flat().map((value) => value?.name);
  assert.deepEqual(names, [0, 1, 2, 3].map((e) => `model.layers.0.mlp.experts.${e}.w1.weight`));
});

Deno.test("match_moe_pattern carries limits of clamped SwiGLU", async () => {
  const blocks = moeLayer({ ...SMALL, activation: "swiglu_oai" });
  await apply(blocks.graph, MATCH);
  const moe = blocks.graph.nodes.find((node) => isOp(node, "moe"));
  assert.ok(isOp(moe, "moe"));
  assert.equal(moe.attrs.limit, 0.5);
  assert.ok(Math.abs((moe.attrs.alpha ?? 0) - 1.702) < 1e-6);
});

Deno.test("match_moe_pattern leaves a loop alone and says why when one expert is missing", async () => {
  const blocks = moeLayer({ ...SMALL, order: [0, 1, 3] });
  const before = printGraph(blocks.graph);
  const { match_moe_pattern: record } = await apply(blocks.graph, MATCH);
  assert.equal(record.num_matches, 0);
  assert.deepEqual(record.nearMisses, [
    { node: "model.layers.0.mlp (one_hot)", reason: "expert 2 of 4 is missing" },
  ]);
  assert.equal(printGraph(blocks.graph), before);
});

Deno.test("match_moe_pattern leaves a loop alone when an expert comes twice", async () => {
  const blocks = moeLayer({ ...SMALL, order: [0, 1, 2, 2, 3] });
  const { match_moe_pattern: record } = await apply(blocks.graph, MATCH);
  assert.deepEqual(record.nearMisses, [
    { node: "model.layers.0.mlp (one_hot)", reason: "expert 2 appears twice" },
  ]);
});

Deno.test("match_moe_pattern names the node and the condition when an expert differs", async () => {
  const blocks = moeLayer({
    ...SMALL,
    spoil: (b, expert, source) => expert === 1 ? b.op("neg", { x: source }) : source,
  });
  const before = printGraph(blocks.graph);
  const { match_moe_pattern: record } = await apply(blocks.graph, MATCH);
  assert.deepEqual(record.nearMisses, [{
    node: "model.layers.0.mlp.experts.1 (index_add)",
    reason: "it does not add a linear layer times a routing weight",
  }]);
  assert.equal(printGraph(blocks.graph), before);
});

Deno.test("match_moe_pattern finds nothing the second time", async () => {
  const blocks = moeLayer(SMALL);
  await apply(blocks.graph, MATCH);
  const after = printGraph(blocks.graph);
  const { match_moe_pattern: again } = await apply(blocks.graph, MATCH);
  assert.equal(again.num_matches, 0);
  assert.equal(printGraph(blocks.graph), after);
});

Deno.test("match_moe_pattern makes this graph", async () => {
  const blocks = moeLayer(SMALL);
  await apply(blocks.graph, steps("match_moe_pattern", "match_router_pattern"));
  await assertSnapshot("graph/match_moe_pattern.txt", printGraph(blocks.graph));
});
