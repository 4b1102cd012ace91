import assert from "node:assert/strict";
import { Graph, GraphBuilder, type TensorType, verifyGraph } from "../../graph/mod.ts";

function graphWith(types: readonly TensorType[]): Graph {
  const graph = new Graph("g");
  const x = graph.addInput("x", { dtype: "f32", shape: ["T", 4] });
  const { outputs: [y] } = graph.addNode({
    op: "topk",
    inputs: { x },
    attrs: { k: 2 },
    types,
    scope: "model.gate",
  });
  graph.setOutput("y", y);
  return graph;
}

const TOP2 = [{ dtype: "f32", shape: ["T", 2] }, { dtype: "i32", shape: ["T", 2] }] as const;

Deno.test("verifyGraph() accepts a graph whose types are those of the op table", () => {
  verifyGraph(graphWith(TOP2));
  verifyGraph(graphWith(TOP2), { again: true });
});

Deno.test("verifyGraph() names node, place and types when an output has another type", () => {
  assert.throws(() => verifyGraph(graphWith([TOP2[0], TOP2[0]])), {
    name: "GraphError",
    code: "graph/type",
    message:
      'Cannot verify node "%1.0" (topk) in "model.gate": expected outputs f32[T, 2], i32[T, 2], got f32[T, 2], f32[T, 2]',
  });
  assert.throws(() => verifyGraph(graphWith([TOP2[0]])), { code: "graph/type" });
});

Deno.test("verifyGraph() reports inputs that break the op's rule", () => {
  const graph = new Graph("g");
  const x = graph.addInput("x", { dtype: "f32", shape: ["T", 4] });
  const types = [{ dtype: "f32", shape: ["T", 5] }] as const;
  graph.addNode({ op: "reshape", inputs: { x }, attrs: { shape: ["T", 5] }, types, scope: "" });
  assert.throws(() => verifyGraph(graph), {
    message:
      'Cannot verify node "%1" (reshape): expected as many elements as [T, 5], got f32[T, 4]',
  });
});

Deno.test("verifyGraph() reports a value that is read before it is made, made twice, or never", () => {
  const b = new GraphBuilder(new Graph("g"));
  const x = b.input("x", { dtype: "f32", shape: ["T", 4] });
  const [first, second] = [b.op("neg", { x }), b.op("cos", { x })];
  b.graph.replaceAllUses(x, second);
  assert.throws(() => verifyGraph(b.graph), { code: "graph/order" });

  const twice = new Graph("twice");
  const { nodes, ...rest } = graphWith(TOP2).snapshot();
  twice.restore({ ...rest, nodes: [...nodes, ...nodes] });
  assert.throws(() => verifyGraph(twice), { code: "graph/duplicate-id" });

  const empty = new Graph("empty");
  empty.setOutput("y", first);
  assert.throws(() => verifyGraph(empty), {
    code: "graph/missing-output",
    message: 'Cannot verify graph "empty": expected a node that makes output "y", got none',
  });
});
