import assert from "node:assert/strict";
import {
  input,
  inputList,
  isOp,
  type MoeActivation,
  printGraph,
  type Value,
} from "../../../graph/mod.ts";
import { EagerBlocks } from "../../support/eager_blocks.ts";
import { apply, applyAndCompare, steps } from "../../support/run_transforms.ts";

const [E, K, H, I] = [5, 2, 8, 6];

/** How batched experts are written. */
interface BatchForm {
  /** Where the routing weight stands. */
  readonly routing?: "input" | "output" | "both" | "nowhere";
  readonly activation?: Exclude<MoeActivation, "linear" | "swiglu_oai">;
  readonly biases?: boolean;
  readonly swapped?: boolean;
  /** Gate and up projection in every other column. */
  readonly interleaved?: boolean;
  readonly plain?: boolean;
  /** Up projection of another product. */
  readonly apart?: boolean;
  readonly sumOver?: number;
}

function batch(form: BatchForm): EagerBlocks {
  const blocks = new EagerBlocks("batch");
  const { b, graph } = blocks;
  const { routing = "output" } = form;
  const x = b.input("x", { dtype: "f32", shape: ["T", H] });
  const mul = (left: Value, right: Value) =>
    b.op("mul", form.swapped ? { a: right, b: left } : { a: left, b: right });
  const y = b.within("mlp", () => {
    const choice = blocks.router(x, E, K);
    const scores = b.op("scatter", { x: choice.routing, indices: choice.selected }, { classes: E });
    if (routing === "nowhere") graph.setOutput("scores", scores);
    const weight = b.op("unsqueeze", { x: b.op("transpose", { x: scores }, { dims: [0, 1] }) }, {
      dim: -1,
    });
    const copies = b.op("expand", { x: b.op("unsqueeze", { x }, { dim: 0 }) }, {
      shape: [E, "T", H],
    });
    const before = routing === "input" || routing === "both";
    const outputs = experts(blocks, before ? mul(copies, weight) : copies, form, mul);
    const behind = routing === "output" || routing === "both";
    return b.op("sum", { x: behind ? mul(outputs, weight) : outputs }, {
      dim: form.sumOver ?? 0,
      keepdim: false,
    });
  });
  graph.setOutput("y", y);
  return blocks;
}

/** `[E, T, H]` through the experts' matrices. */
function experts(
  blocks: EagerBlocks,
  x: Value,
  form: BatchForm,
  mul: (left: Value, right: Value) => Value,
): Value {
  const { b } = blocks;
  const product = (of: Value, name: string, rows: number, columns: number) => {
    const y = b.op("matmul", { a: of, b: blocks.weight(name, [E, columns, rows]) });
    return form.biases ? b.op("add", { a: y, b: blocks.weight(`${name}_bias`, [E, 1, rows]) }) : y;
  };
  if (form.plain) {
    const inner = product(x, "up_proj", I, H);
    return product(blocks.activate(inner, "silu"), "down_proj", H, I);
  }
  const joined = product(x, "gate_up_proj", 2 * I, H);
  const part = (of: Value, index: number) =>
    b.op("slice", { x: of }, {
      dim: -1,
      ...(form.interleaved
        ? { start: index, end: 2 * I, step: 2 }
        : { start: index * I, end: (index + 1) * I }),
    });
  const up = part(form.apart ? product(x, "other_proj", 2 * I, H) : joined, 1);
  const gated = mul(blocks.activate(part(joined, 0), form.activation ?? "silu"), up);
  return product(gated, "down_proj", H, I);
}

const FORMS: readonly BatchForm[] = [
  {},
  { biases: true, swapped: true },
  { interleaved: true, biases: true, activation: "gelu_tanh" },
  { activation: "relu2" },
];

for (const routing of ["input", "output"] as const) {
  const [own, other] = routing === "input"
    ? ["match_bmm_moe_pattern", "match_dense_moe_pattern"]
    : ["match_dense_moe_pattern", "match_bmm_moe_pattern"];
  for (const each of FORMS) {
    // Where the routing weight multiplies inputs, biases are another thing: see below.
    const form = routing === "input" ? { ...each, biases: false } : each;
    Deno.test(`${own} finds batched experts: ${JSON.stringify(form)}`, async () => {
      const blocks = batch({ ...form, routing });
      const records = await applyAndCompare(blocks, steps(other, own));
      assert.equal(records[other].num_matches, 0);
      assert.equal(records[own].num_matches, 1);
      const moe = blocks.graph.nodes.find((node) => isOp(node, "moe"));
      assert.ok(isOp(moe, "moe"), printGraph(blocks.graph));
      assert.equal(moe.attrs.applyRoutingOnInput, routing === "input");
      assert.equal(moe.attrs.activation, form.activation ?? "silu");
      assert.equal(input(moe, "x").name, "x");
      for (const name of ["w1", "w2", "w3"]) assert.equal(inputList(moe, name).length, E);
      assert.equal(inputList(moe, "b2").length, form.biases ? E : 0);
      assert.ok(!blocks.graph.nodes.some(({ op }) => op === "matmul" || op === "scatter"));
    });
  }
}

const REASONS: readonly [BatchForm, string][] = [
  [{ routing: "both" }, "mlp (sum): the routing weight is applied twice"],
  [{ routing: "nowhere" }, "mlp (sum): the routing weight is applied nowhere"],
  [
    { routing: "input", biases: true },
    "mlp (sum): its biases count for experts that are not chosen",
  ],
  [{ plain: true }, "mlp (sum): its experts are not gated"],
  [{ apart: true }, "mlp (sum): gate and up projection are no parts of one product"],
];

for (const [form, reason] of REASONS) {
  Deno.test(`batched experts are left with a reason: ${JSON.stringify(form)}`, async () => {
    const { graph } = batch(form);
    const { nodes } = graph;
    const keys = ["match_bmm_moe_pattern", "match_dense_moe_pattern"];
    const records = await apply(graph, steps(...keys));
    for (const key of keys) {
      const misses = records[key].nearMisses.map(({ node, reason }) => `${node}: ${reason}`);
      assert.deepEqual(misses, [reason], key);
    }
    // Nodes that nobody reads are gone after any transform.
    assert.ok(graph.nodes.every((node) => nodes.includes(node)), printGraph(graph));
  });
}

Deno.test("a sum over something else than experts is none of their patterns'", async () => {
  const { graph } = batch({ sumOver: 1 });
  const text = printGraph(graph);
  const keys = ["match_bmm_moe_pattern", "match_dense_moe_pattern"];
  const records = await apply(graph, steps(...keys));
  assert.ok(keys.every((key) => records[key].nearMisses.length === 0));
  assert.equal(printGraph(graph), text);
});
