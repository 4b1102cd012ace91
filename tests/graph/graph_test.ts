import assert from "node:assert/strict";
import fc from "../../deps/fast_check.ts";
import {
  Graph,
  GraphBuilder,
  GraphError,
  input,
  nodeInputs,
  printGraph,
  tensor,
  verifyGraph,
} from "../../graph/mod.ts";

/** x -> neg -> silu -> y, with w multiplied in between. */
function chain() {
  const b = new GraphBuilder(new Graph("chain"));
  const x = b.input("x", { dtype: "f32", shape: ["T", 4] });
  const negated = b.op("neg", { x });
  const scaled = b.op("mul", { a: negated, b: b.weight("w", tensor("w", "f32", [4])) });
  const y = b.op("silu", { x: scaled });
  b.graph.setOutput("y", y);
  return { b, graph: b.graph, x, negated, scaled, y };
}

Deno.test("Graph.nodes does not change in the hands of its reader", () => {
  const { b, graph, x } = chain();
  const before = graph.nodes;
  b.op("cos", { x });
  assert.equal(before.length, 3);
  assert.equal(graph.nodes.length, 4);
});

Deno.test("Graph.addNode() puts a node in front of another one", () => {
  const { graph, x, y } = chain();
  const before = graph.producer(y);
  new GraphBuilder(graph, { before }).op("cos", { x });
  assert.deepEqual(graph.nodes.map(({ op }) => op), ["neg", "mul", "cos", "silu"]);
});

Deno.test("Graph.replaceAllUses() changes readers, outputs and the index", () => {
  const { graph, negated, scaled, x, y } = chain();
  graph.replaceAllUses(negated, x);
  assert.deepEqual(graph.users(negated), []);
  assert.equal(graph.users(x).length, 2);
  const mul = graph.producer(scaled);
  assert.ok(mul);
  assert.equal(input(mul, "a"), x);
  graph.replaceAllUses(y, scaled);
  assert.equal(graph.outputs.get("y"), scaled);
  assert.ok(graph.isOutput(scaled));
});

Deno.test("Graph.erase() refuses what is still read, and names the reader", () => {
  const { graph, negated, y } = chain();
  const [neg, mul, silu] = graph.nodes;
  assert.throws(() => graph.erase([neg]), {
    name: "GraphError",
    code: "graph/erase-used",
    message: `Cannot erase node "${negated.name}" (neg): expected no reader, got "${
      mul.outputs[0].name
    }" (mul)`,
  });
  assert.throws(() => graph.erase([silu]), {
    message: `Cannot erase node "${y.name}" (silu): expected no reader, got an output of the graph`,
  });
  assert.equal(graph.nodes.length, 3);
});

Deno.test("Graph.eliminateDeadCode() keeps what outputs need", () => {
  const { b, graph, x } = chain();
  b.op("sin", { x: b.op("cos", { x }) });
  assert.equal(graph.eliminateDeadCode(), 2);
  assert.deepEqual(graph.nodes.map(({ op }) => op), ["neg", "mul", "silu"]);
  assert.equal(graph.eliminateDeadCode(), 0);
});

Deno.test("Graph.sortTopologically() moves a maker in front of its reader, and finds a cycle", () => {
  const { b, graph, negated, x } = chain();
  const late = b.op("cos", { x });
  graph.replaceAllUses(negated, late);
  assert.throws(() => verifyGraph(graph), { code: "graph/order" });
  graph.sortTopologically();
  verifyGraph(graph);
  assert.deepEqual(graph.nodes.map(({ op }) => op), ["neg", "cos", "mul", "silu"]);
  const { graph: ring, scaled, y } = chain();
  ring.replaceAllUses(scaled, y);
  assert.throws(() => ring.sortTopologically(), { code: "graph/cycle" });
});

Deno.test("Graph.restore() brings back nodes, inputs, outputs, caches and notes", () => {
  const { b, graph, x, y } = chain();
  const text = printGraph(graph);
  const snapshot = graph.snapshot();
  b.input("late", { dtype: "i32", shape: ["T"] });
  graph.addCache({ name: "c", kvHeads: 1, headDim: 4, dtype: "f32", pageSize: 16 });
  graph.setMeta("note", 1);
  graph.replaceAllUses(y, x);
  graph.eliminateDeadCode();
  assert.equal(graph.nodes.length, 0);
  graph.restore(snapshot);
  assert.equal(printGraph(graph), text);
  assert.deepEqual(graph.meta, {});
  assert.equal(graph.users(x).length, 1);
});

Deno.test("Graph.restore() takes over another graph without reusing its ids", () => {
  const { graph } = chain();
  const other = new Graph("other");
  other.restore(graph.snapshot());
  const value = other.addInput("late", { dtype: "i32", shape: ["T"] });
  const taken = graph.nodes.flatMap((node) => [...node.outputs, ...nodeInputs(node)]);
  assert.ok(taken.every(({ id }) => id !== value.id));
});

Deno.test("Graph.latest() follows replacements of erased nodes, and of no others", () => {
  const { graph, b, x, negated, scaled, y } = chain();
  const first = b.op("cos", { x });
  graph.replaceAllUses(negated, first);
  assert.equal(graph.latest(negated), negated);
  graph.eliminateDeadCode();
  assert.equal(graph.latest(negated), first);
  graph.replaceAllUses(first, x);
  graph.eliminateDeadCode();
  assert.equal(graph.latest(negated), x);
  assert.equal(graph.latest(y), y);
  const again = b.op("sin", { x: negated });
  assert.equal(graph.producer(again)?.inputs.x, x);
  assert.equal(graph.latest(scaled), scaled);
});

Deno.test("GraphBuilder names the op, the scope and what it expected", () => {
  const b = new GraphBuilder(new Graph("wrong"), { scope: "model" });
  const x = b.input("x", { dtype: "f32", shape: ["T", 4] });
  const w = b.weight("w", tensor("w", "f32", [3, 5]));
  assert.throws(() => b.op("linear", { x, w }), {
    name: "GraphError",
    message:
      'Cannot add op "linear" to "model": expected an input whose last dimension is 5, got f32[T, 4]',
  });
  assert.throws(() => b.op("linear", { x }), { code: "graph/missing-input" });
  assert.throws(() => b.op("linear", { x, w, v: w }), { code: "graph/unknown-input" });
  assert.throws(() => b.op("neg", { x: [x] }), { code: "graph/input-kind" });
  assert.throws(() => b.op("concat", { xs: x }, { dim: 0 }), { code: "graph/input-kind" });
});

/** An edit of a graph by numbers that choose nodes. */
type Edit = readonly ["add" | "bypass" | "sweep" | "undo", number];

const edits: fc.Arbitrary<Edit[]> = fc.array(
  fc.tuple(fc.constantFrom("add", "bypass", "sweep", "undo"), fc.nat(1000)),
  { maxLength: 30 },
);

Deno.test("Graph's index equals one made anew after any edits", () => {
  fc.assert(
    fc.property(edits, (list) => {
      const { graph, x } = chain();
      const snapshots = [graph.snapshot()];
      for (const [edit, number] of list) {
        const node = graph.nodes[number % Math.max(1, graph.nodes.length)];
        if (edit === "undo") graph.restore(snapshots[number % snapshots.length]);
        else if (edit === "sweep") graph.eliminateDeadCode();
        else if (node === undefined) continue;
        else if (edit === "bypass") graph.replaceAllUses(node.outputs[0], nodeInputs(node)[0]);
        else new GraphBuilder(graph, { before: node }).op("neg", { x: nodeInputs(node)[0] });
        snapshots.push(graph.snapshot());
        verifyGraph(graph);
        const fresh = new Graph("fresh");
        fresh.restore(graph.snapshot());
        for (const { outputs: [value] } of [{ outputs: [x] }, ...graph.nodes]) {
          const ids = (of: Graph) => of.users(value).map(({ id }) => id).sort((a, b) => a - b);
          assert.deepEqual(ids(graph), ids(fresh));
          assert.equal(graph.producer(value), fresh.producer(value));
        }
      }
    }),
    { numRuns: 60 },
  );
});

Deno.test("GraphError keeps its place in the trail", () => {
  const error = new GraphError("graph/x", "Cannot x: expected y, got z").within("node a").within(
    "transform b",
  );
  assert.deepEqual(error.toJSON().trail, ["node a", "transform b"]);
});
