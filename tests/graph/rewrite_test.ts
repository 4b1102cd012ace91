import assert from "node:assert/strict";
import {
  attempt,
  findMatches,
  Graph,
  GraphBuilder,
  input,
  labelNode,
  type Probe,
  replaceNode,
  scalarOf,
  scalarOperand,
} from "../../graph/mod.ts";

function graphOf() {
  const b = new GraphBuilder(new Graph("g"), { scope: "m" });
  const x = b.input("x", { dtype: "f32", shape: ["T", 4] });
  return { b, graph: b.graph, x };
}

Deno.test("findMatches() keeps matches in graph order, and reasons only of what was recognised", () => {
  const { b, graph, x } = graphOf();
  const halves = [b.op("neg", { x: b.op("cos", { x }) }), b.op("neg", { x: b.op("sin", { x }) })];
  b.op("neg", { x });
  const found = findMatches(graph, "neg", (probe: Probe, node) => {
    const cos = probe.maybe(input(node, "x"), "cos");
    if (probe.maybe(input(node, "x"), "sin")) probe.recognised();
    if (!cos) probe.fail(node, "no cosine");
    return cos.id;
  });
  assert.equal(found.matches.length, 1);
  assert.deepEqual(found.nearMisses, [{ node: "m (neg)", reason: "no cosine" }]);
  assert.equal(graph.producer(halves[0])?.op, "neg");
});

Deno.test("attempt() passes on errors that are no failed match", () => {
  const { graph } = graphOf();
  assert.throws(() =>
    attempt(graph, () => {
      throw new RangeError("broken matcher");
    }), RangeError);
});

Deno.test("Probe says what it found instead", () => {
  const { b, graph, x } = graphOf();
  const sum = b.op("add", { a: b.op("cos", { x }), b: x });
  const add = graph.producer(sum);
  assert.ok(add);
  const reason = (walk: Parameters<typeof attempt>[1]) => {
    const result = attempt(graph, (probe) => {
      probe.recognised();
      return walk(probe);
    });
    return "miss" in result ? result.miss?.reason : "matched";
  };
  assert.equal(reason((probe) => probe.from(add, "a", "sin")), "its a is made by cos, not by sin");
  assert.equal(
    reason((probe) => probe.from(add, "b", "sin")),
    "its b is made by input, not by sin",
  );
  assert.equal(
    reason((probe) => probe.operands(add, "mul")),
    "neither operand is made by mul, but by cos and input",
  );
  assert.equal(reason((probe) => probe.operands(add, "cos")), "matched");
  assert.equal(reason((probe) => probe.weight(add, "b")), "its b is not a weight");
  assert.equal(
    reason((probe) => probe.onlyUser(x, add)),
    "its result has 2 readers, not one",
  );
  assert.equal(labelNode(add), "m (add)");
});

Deno.test("scalarOperand() finds a constant on either side of what commutes", () => {
  const { b, graph, x } = graphOf();
  const two = b.scalar(2);
  const operand = (op: "mul" | "sub", a: typeof x, right: typeof x) => {
    const node = graph.producer(b.op(op, { a, b: right }));
    return node && scalarOperand(node);
  };
  assert.deepEqual(operand("mul", x, two), { value: x, scalar: 2 });
  assert.deepEqual(operand("mul", two, x), { value: x, scalar: 2 });
  assert.deepEqual(operand("sub", x, two), { value: x, scalar: 2 });
  assert.equal(operand("sub", two, x), undefined);
  assert.equal(operand("mul", x, x), undefined);
  assert.equal(scalarOf(b.scalar(1e-6)), 1e-6);
  assert.equal(scalarOf(x), undefined);
});

Deno.test("replaceNode() replaces outputs and removes the node", () => {
  const { b, graph, x } = graphOf();
  const y = b.op("neg", { x: b.op("cos", { x }) });
  graph.setOutput("y", y);
  const [cos] = graph.nodes;
  replaceNode(graph, cos, x);
  assert.deepEqual(graph.nodes.map(({ op }) => op), ["neg"]);
  const [neg] = graph.nodes;
  replaceNode(graph, neg, x);
  assert.equal(graph.outputs.get("y"), x);
});
