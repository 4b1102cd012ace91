import assert from "node:assert/strict";
import { type GraphBuilder, inputList, isOp, printGraph, type Value } from "../../../graph/mod.ts";
import { EagerBlocks } from "../../support/eager_blocks.ts";
import { apply, applyAndCompare, steps } from "../../support/run_transforms.ts";

const LOOP = { experts: 4, topK: 2, hidden: 8, intermediate: 6 } as const;
const MATCH = ["match_moe_pattern", "match_router_pattern"] as const;

/** How experts and what is beside them are written. */
interface SharedForm {
  /** Hidden numbers of the shared expert. */
  readonly size?: number;
  readonly gate?: boolean;
  readonly swapped?: boolean;
  readonly biases?: boolean;
  readonly activation?: "silu" | "gelu";
  readonly routingOnInput?: boolean;
  /** The shared expert reads another value. */
  readonly apart?: boolean;
  /** Something else reads the choice of experts, or its weights. */
  readonly read?: "choice" | "choice as output" | "weights";
  /** Something else reads the sum of the experts. */
  readonly sumRead?: boolean;
  /** What is added is no MLP. */
  readonly linear?: boolean;
}

function layer(form: SharedForm): EagerBlocks {
  const blocks = new EagerBlocks("shared");
  const { b, graph } = blocks;
  const x = b.input("x", { dtype: "f32", shape: ["T", 8] });
  const y = b.within("mlp", () => {
    const { selected, routing } = blocks.router(x, LOOP.experts, LOOP.topK);
    if (form.read === "choice as output") graph.setOutput("selected", selected);
    if (form.read === "choice") {
      graph.setOutput("mask", b.op("one_hot", { ids: selected }, { classes: 9 }));
    }
    if (form.read === "weights") graph.setOutput("weights", b.op("neg", { x: routing }));
    const { biases = false, routingOnInput = false } = form;
    const routed = blocks.experts(x, selected, routing, { ...LOOP, biases, routingOnInput });
    if (form.sumRead) graph.setOutput("routed", b.op("neg", { x: routed }));
    const own = b.within("shared", () => besides(blocks, b, x, form));
    return b.op("add", form.swapped ? { a: own, b: routed } : { a: routed, b: own });
  });
  graph.setOutput("y", y);
  return blocks;
}

function besides(blocks: EagerBlocks, b: GraphBuilder, x: Value, form: SharedForm): Value {
  if (form.linear) return blocks.linear(x, "proj", LOOP.hidden);
  const { size = LOOP.intermediate, activation = "silu" } = form;
  const read = form.apart ? b.op("neg", { x }) : x;
  const mlp = blocks.mlp(read, { intermediate: size, activation });
  if (!form.gate) return mlp;
  const gate = b.op("sigmoid", { x: blocks.linear(x, "gate", 1) });
  return b.op("mul", form.swapped ? { a: mlp, b: gate } : { a: gate, b: mlp });
}

const FORMS: readonly (readonly [SharedForm, number])[] = [
  [{}, 1],
  [{ size: 18, swapped: true }, 3],
  [{ gate: true }, 1],
  [{ gate: true, size: 12, swapped: true }, 2],
  [{ routingOnInput: true }, 1],
];

for (const [form, count] of FORMS) {
  Deno.test(`fuse_shared_experts makes slots of it: ${JSON.stringify(form)}`, async () => {
    const blocks = layer(form);
    const records = await applyAndCompare(blocks, steps(...MATCH, "fuse_shared_experts"));
    assert.equal(records.fuse_shared_experts.num_matches, 1);
    const [router, moe, ...others] = blocks.graph.nodes;
    assert.ok(isOp(router, "moe_router") && isOp(moe, "moe"), printGraph(blocks.graph));
    assert.equal(others.length, 0, printGraph(blocks.graph));
    assert.equal(router.attrs.shared, count);
    assert.equal(router.attrs.sharedGate ?? false, form.gate ?? false);
    assert.deepEqual(router.outputs[0].shape, ["T", LOOP.topK + count]);
    assert.equal(inputList(moe, "w1").length, LOOP.experts + count);
  });
}

const REASONS: readonly (readonly [SharedForm, string])[] = [
  [
    { size: 9 },
    "mlp (add): it has 9 hidden numbers, which is not a whole number of experts of 6",
  ],
  [{ activation: "gelu" }, "mlp (add): its activation is another than the experts'"],
  [{ biases: true }, "mlp (add): it or the experts have biases"],
  [{ apart: true }, "mlp (add): it reads another value than the experts"],
  ...(["choice", "choice as output", "weights"] as const).map((read) =>
    [{ read }, "mlp.gate (moe_router): its choice has other readers"] as const
  ),
  [
    { gate: true, routingOnInput: true },
    "mlp (add): its gate multiplies its output, the routing weights multiply inputs",
  ],
];

for (const [form, reason] of REASONS) {
  Deno.test(`fuse_shared_experts says why it leaves an MLP: ${JSON.stringify(form)}`, async () => {
    const { graph } = layer(form);
    await apply(graph, steps(...MATCH));
    const text = printGraph(graph);
    const { fuse_shared_experts: record } = await apply(graph, steps("fuse_shared_experts"));
    const misses = record.nearMisses.map(({ node, reason }) => `${node}: ${reason}`);
    assert.deepEqual(misses, [reason]);
    assert.equal(printGraph(graph), text);
  });
}

for (const form of [{ linear: true }, { sumRead: true }] satisfies SharedForm[]) {
  Deno.test(`fuse_shared_experts leaves other sums alone: ${JSON.stringify(form)}`, async () => {
    const { graph } = layer(form);
    await apply(graph, steps(...MATCH));
    const text = printGraph(graph);
    const { fuse_shared_experts: record } = await apply(graph, steps("fuse_shared_experts"));
    assert.deepEqual([record.num_matches, record.nearMisses], [0, []]);
    assert.equal(printGraph(graph), text);
  });
}
