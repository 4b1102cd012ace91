import assert from "node:assert/strict";
import { isOp, type MoeRouterAttrs, printGraph, type Value } from "../../../graph/mod.ts";
import { EagerBlocks } from "../../support/eager_blocks.ts";
import { apply, applyAndCompare, steps } from "../../support/run_transforms.ts";

/** How a router is written. */
interface RouterForm {
  readonly scoring?: "softmax" | "sigmoid" | "none";
  /** Softmax of the chosen scores. */
  readonly after?: boolean;
  readonly renormalize?: boolean;
  /** The sum is of such powers; its root is the inverse power, or the other. */
  readonly power?: readonly [number, number];
  /** Added to the sum before the division. */
  readonly epsilon?: number;
  readonly scale?: number;
  readonly bias?: boolean;
  readonly softmaxDim?: number;
  readonly weightsRead?: boolean;
}

function router(form: RouterForm): EagerBlocks {
  const blocks = new EagerBlocks("router");
  const { b, graph } = blocks;
  const x = b.input("x", { dtype: "f32", shape: ["T", 8] });
  b.within("mlp", () => {
    const logits = blocks.linear(x, "gate", 6, form.bias);
    const scores = form.scoring === "none"
      ? logits
      : form.scoring === "sigmoid"
      ? b.op("sigmoid", { x: logits })
      : b.op("softmax", { x: logits }, { dim: form.softmaxDim ?? -1 });
    const { outputs: [chosen, selected] } = b.node("topk", { x: scores }, { k: 3 });
    let weights: Value = form.after ? b.op("softmax", { x: chosen }, { dim: -1 }) : chosen;
    if (form.renormalize) {
      const [power, root] = form.power ?? [1, 1];
      const terms = form.power ? b.op("pow", { x: weights }, { exponent: power }) : weights;
      const sum = b.op("sum", { x: terms }, { dim: -1, keepdim: true });
      const divisor = form.power
        ? b.op("pow", { x: sum }, { exponent: root })
        : form.epsilon === undefined
        ? sum
        : b.op("add", { a: sum, b: b.scalar(form.epsilon) });
      weights = b.op("div", { a: weights, b: divisor });
    }
    if (form.scale !== undefined) weights = b.op("mul", { a: weights, b: b.scalar(form.scale) });
    if (form.weightsRead) graph.setOutput("chosen", b.op("neg", { x: chosen }));
    graph.setOutput("weights", weights);
    graph.setOutput("selected", selected);
  });
  return blocks;
}

const FORMS: Record<string, [RouterForm, Partial<MoeRouterAttrs>]> = {
  "softmax": [{}, { scoring: "softmax", softmaxOver: "all", renormalize: false, scale: 1 }],
  "softmax, renormalised": [{ renormalize: true }, { renormalize: true }],
  "softmax, divided by the 3-norm": [
    { renormalize: true, power: [3, 1 / 3] },
    { renormalize: true, normPower: 3 },
  ],
  "softmax with a bias": [{ bias: true }, { renormalize: false }],
  "sigmoid": [{ scoring: "sigmoid" }, { scoring: "sigmoid" }],
  "sigmoid, renormalised, scaled": [
    { scoring: "sigmoid", renormalize: true, epsilon: 1e-20, scale: 2.5 },
    { scoring: "sigmoid", renormalize: true, scale: 2.5 },
  ],
  "softmax of the chosen": [
    { scoring: "none", after: true },
    { scoring: "softmax", softmaxOver: "selected", renormalize: false },
  ],
  "softmax of the chosen, scaled": [
    { scoring: "none", after: true, scale: 0.5 },
    { softmaxOver: "selected", scale: 0.5 },
  ],
};

for (const [name, [form, expected]] of Object.entries(FORMS)) {
  Deno.test(`match_router_pattern makes one op: ${name}`, async () => {
    const blocks = router(form);
    await applyAndCompare(blocks, steps("match_router_pattern"));
    const [node, ...others] = blocks.graph.nodes;
    assert.ok(isOp(node, "moe_router") && others.length === 0, printGraph(blocks.graph));
    assert.equal(node.attrs.topK, 3);
    assert.deepEqual({ ...node.attrs, ...expected }, node.attrs);
    assert.equal(node.inputs.bias !== undefined, form.bias ?? false);
    assert.equal(node.scope, "mlp.gate");
  });
}

const REASONS: [string, RouterForm, string][] = [
  [
    "a sum of powers whose root is another",
    { renormalize: true, power: [2, 1] },
    "mlp (sum): it is a sum of powers and no p-norm",
  ],
  [
    "raw scores",
    { scoring: "none" },
    "mlp (topk): its result has 0 readers and is an output, not one",
  ],
  ["a softmax over tokens", { softmaxDim: 0 }, "mlp (softmax): it is not over the experts"],
  [
    "another reader of the chosen scores",
    { renormalize: true, weightsRead: true },
    "mlp (topk): its values before the division have another reader",
  ],
];

for (const [name, form, expected] of REASONS) {
  Deno.test(`match_router_pattern says why it leaves a router alone: ${name}`, async () => {
    const { graph } = router(form);
    const text = printGraph(graph);
    const { match_router_pattern: record } = await apply(graph, steps("match_router_pattern"));
    assert.deepEqual(record.nearMisses.map(({ node, reason }) => `${node}: ${reason}`), [expected]);
    assert.equal(printGraph(graph), text);
  });
}

Deno.test("match_router_pattern keeps an epsilon that counts", async () => {
  const { graph } = router({ renormalize: true, epsilon: 1e-3 });
  await apply(graph, steps("match_router_pattern"));
  const node = graph.nodes.find((each) => isOp(each, "moe_router"));
  assert.ok(isOp(node, "moe_router"));
  assert.equal(node.attrs.sumOffset, 0.001);
});
