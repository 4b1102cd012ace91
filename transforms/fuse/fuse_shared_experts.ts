/**
 * `fuse_shared_experts`: an MLP that every token goes through becomes a part of the layer of experts,
 * as experts that the router always chooses: the layer needs no dispatches besides those of the
 * experts. It has to be a whole number of experts in size; a gate of its own becomes a row of the
 * router.
 *
 * Before:
 * ```text
 * %1, %2 = moe_router(x: x, w: @gate) {topK: 6, ..}
 * %3 = moe(x: x, selected_experts: %1, routing_weights: %2, w1: [64], w2: [64], w3: [64])
 * %4 = linear(x: mul(silu(linear(x, @shared_gate)), linear(x, @shared_up)), w: @shared_down)
 * %5 = add(a: %3, b: %4)
 * ```
 * After, with a shared MLP of the size of two experts:
 * ```text
 * %1, %2 = moe_router(x: x, w: @gate) {topK: 6, .., shared: 2}               [T, 8]
 * %3 = moe(x: x, selected_experts: %1, routing_weights: %2, w1: [66], w2: [66], w3: [66])
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  concat,
  findMatches,
  type Graph,
  GraphBuilder,
  input,
  inputList,
  type Node,
  type Probe,
  replaceNode,
  slice,
  type Value,
  type Weight,
} from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";
import { type Expert, matchExpert, plainWeight } from "../match/moe_expert.ts";

interface Shared {
  readonly add: Node<"add">;
  readonly router: Node<"moe_router">;
  readonly moe: Node<"moe">;
  readonly expert: Expert;
  /** [1, H] weight of its gate. */
  readonly gate: Value | undefined;
  /** Experts that it counts as. */
  readonly count: number;
}

/** See the module's documentation. */
export const fuseSharedExperts = defineTransform({
  key: "fuse_shared_experts",
  stage: "pattern_matcher",
  summary: "Make shared experts a part of the layer of experts",
  base: {
    after: ["match_moe_pattern", "match_bmm_moe_pattern", "match_router_pattern"],
    before: ["match_swiglu_pattern"],
  },
  config: z.object({}),
  plan: (graph) => findMatches(graph, "add", matchShared),
  apply(graph, plan) {
    for (const match of plan.matches) fuse(graph, match);
  },
});

function matchShared(probe: Probe, add: Node<"add">): Shared {
  const { made: moe, other } = probe.operands(add, "moe");
  const router = probe.from(moe, "selected_experts", "moe_router");
  probe.onlyUser(moe.outputs[0], moe);
  const gated = probe.maybe(other, "mul");
  const gate = gated && gateOf(probe, gated, input(router, "x"));
  const down = probe.maybe(gate?.output ?? other, "linear");
  if (!down) probe.fail(add, "what is added to the experts is no MLP");
  const expert = matchExpert(probe, down);
  probe.recognised();
  probe.check(expert.x.id === input(moe, "x").id, add, "it reads another value than the experts");
  probe.check(input(router, "x").id === expert.x.id, router, "it reads another value");
  const { mlp, activation, applyRoutingOnInput } = moe.attrs;
  const alike = mlp === "gated" && expert.attrs.mlp === mlp &&
    expert.attrs.activation === activation && activation !== "swiglu_oai";
  probe.check(alike, add, "its activation is another than the experts'");
  // A weight of 1 may stand on either side; a gate stands on the output.
  const side = !applyRoutingOnInput || gate === undefined;
  probe.check(side, add, "its gate multiplies its output, the routing weights multiply inputs");
  const biased = [expert.b1, expert.b2, expert.b3].some(Boolean) ||
    ["b1", "b2", "b3"].some((name) => inputList(moe, name).length > 0);
  probe.check(!biased, add, "it or the experts have biases");
  // Slots behind the chosen ones would be seen by whoever else reads the choice or its weights.
  const own = router.outputs.slice(0, 2).every((value) =>
    !probe.graph.isOutput(value) && probe.graph.users(value).every(({ id }) => id === moe.id)
  );
  probe.check(own, router, "its choice has other readers");
  const count = countOf(probe, add, moe, expert);
  if (gate) {
    const sameType = gate.weight.dtype === input(router, "w").dtype;
    probe.check(
      sameType && !router.inputs.bias,
      router,
      "its weight and the gate's differ in type",
    );
  }
  return { add, router, moe, expert, gate: gate?.weight, count };
}

/** `sigmoid(linear(x, @gate)) ⊙ output`, either operand order. */
function gateOf(probe: Probe, product: Node, x: Value) {
  const [a, b] = [input(product, "a"), input(product, "b")];
  for (const [gate, output] of [[a, b], [b, a]]) {
    const sigmoid = probe.maybe(gate, "sigmoid");
    const linear = sigmoid && probe.maybe(input(sigmoid, "x"), "linear");
    if (!linear || input(linear, "x").id !== x.id || linear.inputs.bias) continue;
    const weight = plainWeight(probe, linear);
    if (weight.shape[0] === 1) return { output, weight };
  }
}

/** How many experts the MLP is in size and type of its weights. */
function countOf(probe: Probe, add: Node, moe: Node<"moe">, { w1, w2, w3 }: Expert): number {
  const [first] = inputList(moe, "w1");
  const [own, size] = [Number(w1.shape[0]), Number(first.shape[0])];
  const count = own / size;
  probe.check(
    Number.isInteger(count),
    add,
    `it has ${own} hidden numbers, which is not a whole number of experts of ${size}`,
  );
  const routed = ["w1", "w2", "w3"].map((name) => inputList(moe, name)[0]);
  for (const [i, value] of [w1, w2, w3].entries()) {
    const same = value !== undefined && kindOf(value) === kindOf(routed[i]);
    probe.check(same, add, "its weights are stored in another way than the experts'");
  }
  const packed = first.weight?.kind === "dequantize";
  probe.check(!packed || count === 1, add, "its packed weights would have to be cut");
  return count;
}

/** What weights of one list must have in common. */
function kindOf({ dtype, weight }: Value): string {
  if (weight?.kind !== "dequantize") return dtype;
  return JSON.stringify([weight.format, weight.block, weight.inputScale !== undefined]);
}

function fuse(graph: Graph, { add, router, moe, expert, gate, count }: Shared): void {
  const before = graph.current(router);
  const routerBuilder = new GraphBuilder(graph, { scope: router.scope, before });
  const w = input(before, "w");
  const rows = [w.weight, gate?.weight].filter((weight) => weight !== undefined);
  const chosen = routerBuilder.node("moe_router", {
    ...before.inputs,
    w: gate ? routerBuilder.weight("weight+shared_gate", concat(rows)) : w,
  }, { ...router.attrs, shared: count, ...(gate && { sharedGate: true }) });
  replaceNode(graph, before, ...chosen.outputs);
  const current = graph.current(moe);
  const b = new GraphBuilder(graph, { scope: moe.scope, before: current });
  const size = Number(inputList(moe, "w1")[0].shape[0]);
  const list = (name: "w1" | "w2" | "w3", dim: number) => [
    ...inputList(current, name),
    ...partsOf(expert[name]?.weight, dim, count, size)
      .map((weight, i) => b.weight(`shared.${i}.${name}`, weight)),
  ];
  const fused = b.op("moe", {
    ...current.inputs,
    selected_experts: chosen.outputs[0],
    routing_weights: chosen.outputs[1],
    ...{ w1: list("w1", 0), w2: list("w2", 1), w3: list("w3", 0) },
  }, moe.attrs);
  replaceNode(graph, current, fused);
  replaceNode(graph, add, fused);
}

/** A matrix cut into experts along its hidden numbers. */
function partsOf(weight: Weight | undefined, dim: number, count: number, size: number): Weight[] {
  if (!weight) return [];
  if (count === 1) return [weight];
  return Array.from(
    { length: count },
    (_, i) => slice(weight, dim, i * size, (i + 1) * size),
  );
}
