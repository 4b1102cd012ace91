import assert from "node:assert/strict";
import {
  concat,
  Graph,
  GraphBuilder,
  graphToDot,
  graphWeightBytes,
  printGraph,
  shortestDecimal,
  tensor,
} from "../../graph/mod.ts";

function sample(): Graph {
  const b = new GraphBuilder(new Graph("sample"));
  const x = b.input("x", { dtype: "f32", shape: ["T", 4] });
  const joined = concat([tensor("q", "bf16", [2, 4]), tensor("k", "bf16", [2, 4])]);
  const y = b.within("model.layers.0", () => {
    const qk = b.op("linear", { x, w: b.weight("qk", joined) });
    const { outputs: [values] } = b.node("topk", { x: qk }, { k: 2 });
    return b.op("mul", { a: values, b: b.scalar(1e-6) });
  });
  const parts = Array.from({ length: 6 }, () => y);
  b.graph.setOutput("y", b.op("concat", { xs: parts }, { dim: -1 }));
  b.graph.addCache({ name: "c", kvHeads: 1, headDim: 4, dtype: "f16", pageSize: 16 });
  return b.graph;
}

Deno.test("printGraph() lists nodes under their scopes, then caches, outputs and weights", () => {
  assert.equal(
    printGraph(sample()),
    `graph "sample" (x: f32[T, 4])
  # model.layers.0
  %0 = linear(x: x, w: @model.layers.0.qk) : f32[T, 4]
  %1, %2 = topk(%0) {k: 2} : f32[T, 2], i32[T, 2]
  %3 = mul(a: %1, b: 0.000001) : f32[T, 2]
  #
  %4 = concat([%3, %3, .. 6 in all .., %3]) {dim: -1} : f32[T, 12]
cache {"name":"c","kvHeads":1,"headDim":4,"dtype":"f16","pageSize":16}
return y = %4
@model.layers.0.qk : bf16[4, 4] = concat(q, k)
`,
  );
  assert.match(printGraph(sample(), { full: true }), /\[%3, %3, %3, %3, %3, %3\]/);
  assert.doesNotMatch(printGraph(sample(), { weights: false }), /concat\(q, k\)/);
});

Deno.test("printGraph() prints equal graphs equally whatever their history", () => {
  const graph = sample();
  const [linear] = graph.nodes;
  const extra = new GraphBuilder(graph, { before: linear }).op("neg", { x: graph.inputs[0] });
  assert.notEqual(printGraph(graph), printGraph(sample()));
  graph.erase([graph.nodes[0]]);
  assert.equal(graph.producer(extra), undefined);
  assert.equal(printGraph(graph), printGraph(sample()));
});

Deno.test("printGraph() tells weights of one name apart", () => {
  const b = new GraphBuilder(new Graph("tied"));
  const x = b.input("x", { dtype: "f32", shape: ["T", 2] });
  const weight = () => b.weight("w", tensor("w", "f32", [2]));
  b.graph.setOutput("y", b.op("mul", { a: b.op("mul", { a: x, b: weight() }), b: weight() }));
  assert.match(printGraph(b.graph), /mul\(a: x, b: @w\)(.|\n)*mul\(a: %0, b: @w#2\)/);
});

Deno.test("graphToDot() draws a cluster a layer and an edge a value", () => {
  const dot = graphToDot(sample());
  assert.match(dot, /^digraph "sample" \{/);
  assert.match(dot, /subgraph "cluster_model\.layers\.0" \{\s+label="model\.layers\.0"/);
  assert.equal(dot.match(/ -> /g)?.length, 5);
  assert.match(dot, /label="linear\\n@model\.layers\.0\.qk"/);
});

Deno.test("graphWeightBytes() counts each weight once", () => {
  const b = new GraphBuilder(new Graph("bytes"));
  const x = b.input("x", { dtype: "f32", shape: ["T", 4] });
  const w = b.weight("w", concat([tensor("a", "bf16", [2]), tensor("b", "bf16", [2])]));
  const tied = w.weight && b.weight("tied", w.weight);
  b.graph.setOutput("y", b.op("mul", { a: b.op("mul", { a: x, b: w }), b: tied ?? x }));
  assert.equal(b.graph.weights.length, 2);
  assert.equal(graphWeightBytes(b.graph), 8);
});

Deno.test("shortestDecimal() rounds back to the same f32", () => {
  for (const value of [1e-6, 0.1, 1 / 3, 2 ** -126, 3.4e38, -7, 0, 1.702, Math.SQRT1_2]) {
    const rounded = Math.fround(value);
    assert.equal(Math.fround(shortestDecimal(rounded)), rounded);
    assert.ok(String(shortestDecimal(rounded)).length <= String(rounded).length);
  }
  assert.equal(shortestDecimal(Math.fround(1.702)), 1.702);
});
