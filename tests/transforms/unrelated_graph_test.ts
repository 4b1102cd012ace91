import assert from "node:assert/strict";
import fc from "../../deps/fast_check.ts";
import { Graph, GraphBuilder, printGraph, tensor, type Value } from "../../graph/mod.ts";
import { orderSteps } from "../../transforms/mod.ts";
import { defaultSteps } from "../support/language_model.ts";
import { apply } from "../support/run_transforms.ts";

const UNARY = ["neg", "cos", "sin", "relu", "sigmoid", "silu", "gelu", "rsqrt"] as const;
const BINARY = ["add", "sub", "mul", "div"] as const;

/** An op, and which of the values so far it reads. */
type Step = readonly [(typeof UNARY)[number] | (typeof BINARY)[number] | "linear", number, number];

const graphs: fc.Arbitrary<Step[]> = fc.array(
  fc.tuple(fc.constantFrom(...UNARY, ...BINARY, "linear"), fc.nat(100), fc.nat(100)),
  { minLength: 1, maxLength: 25 },
);

/** A graph of plain ops: each linear layer reads a value of its own and is read by many. */
function build(list: readonly Step[]): Graph {
  const b = new GraphBuilder(new Graph("random"));
  const values: Value[] = [b.input("x", { dtype: "f32", shape: ["T", 4] })];
  const read = new Set<number>();
  for (const [op, i, j] of list) {
    const [x, y] = [values[i % values.length], values[j % values.length]];
    if (op !== "linear") {
      const binary = BINARY.find((each) => each === op);
      const unary = UNARY.find((each) => each === op);
      if (binary) values.push(b.op(binary, { a: x, b: y }));
      if (unary) values.push(b.op(unary, { x }));
    } else if (!read.has(x.id)) {
      read.add(x.id);
      values.push(
        b.op("linear", { x, w: b.weight(`w${values.length}`, tensor("w", "f32", [4, 4])) }),
      );
    }
  }
  values.forEach((value, i) => b.graph.setOutput(`y${i}`, value));
  return b.graph;
}

Deno.test("no transform changes a graph that has none of its patterns", async () => {
  const matching = orderSteps(await defaultSteps()).map(({ key }) => key)
    .filter((key) => /^(match|fuse|cleanup|gather|insert|initialize)_/.test(key))
    .map((key) => ({ key, config: {} }));
  await fc.assert(
    fc.asyncProperty(graphs, async (list) => {
      const graph = build(list);
      const before = printGraph(graph);
      const nodes = graph.nodes;
      const records = await apply(graph, matching);
      assert.equal(printGraph(graph), before);
      assert.deepEqual(graph.nodes, nodes);
      assert.ok(Object.values(records).every(({ num_matches }) => num_matches === 0));
    }),
    { numRuns: 60 },
  );
});
