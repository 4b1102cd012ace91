/**
 * `match_moe_pattern`: the loop over experts of HF's modelling code becomes one `moe` node per layer.
 *
 * Before, for each expert e (here routing on the output; on the input it multiplies `%6`):
 * ```text
 * %1 = one_hot(selected) {classes: E}                          [T, K, E]
 * %2 = transpose(%1) {dims: [0, 2]}                            [E, K, T]
 * %3 = select(%2) {dim: 0, index: e}                           [K, T]
 * %4, %5 = where(%3)                                           slots, tokens
 * %6 = index(x: x, rows: %5)
 * %7 = linear(x: mul(silu(linear(%6, w1)), linear(%6, w3)), w: w2)
 * %8 = unsqueeze(index(x: routing, rows: %5, columns: %4))
 * %9 = index_add(x: previous, rows: %5, source: mul(%7, %8))
 * ```
 * After:
 * ```text
 * %1 = moe(x: x, selected_experts: selected, routing_weights: routing, w1: [..], w2: [..], w3: [..])
 *      {mlp: gated, activation: silu, applyRoutingOnInput: false}
 * ```
 *
 * The number of an expert is the index its mask was selected with, not its place in the graph.
 *
 * @module
 */

import {
  type Graph,
  input,
  isOp,
  type MoeAttrs,
  type Node,
  type Probe,
  type Value,
} from "../../graph/mod.ts";
import { type Expert, matchExpert } from "./moe_expert.ts";
import { definePattern, replaceByOp } from "./pattern.ts";

interface Loop {
  /** The last `index_add`, which makes the result. */
  readonly result: Node;
  /** Scope of the loop, outside of its experts. */
  readonly scope: string;
  readonly x: Value;
  readonly selected: Value;
  readonly routing: Value;
  readonly attrs: MoeAttrs;
  /** By expert number. */
  readonly experts: readonly Expert[];
}

/** One iteration of the loop. */
interface Branch {
  readonly index: number;
  readonly expert: Expert;
  readonly x: Value;
  readonly oneHot: Node<"one_hot">;
  readonly routing: Value;
  readonly attrs: MoeAttrs;
}

/** See the module's documentation. */
export const matchMoePattern = definePattern({
  key: "match_moe_pattern",
  summary: "Replace a loop over experts by `moe`",
  root: "index_add",
  match: matchLoop,
  rewrite(graph, { result, scope, x, selected, routing, attrs, experts }) {
    const list = (pick: (expert: Expert) => Value | undefined) => {
      const values = experts.flatMap((expert) => pick(expert) ?? []);
      return values.length === 0 ? undefined : values;
    };
    const inputs = {
      x,
      selected_experts: selected,
      routing_weights: routing,
      w1: list((expert) => expert.w1),
      w2: list((expert) => expert.w2),
      w3: list((expert) => expert.w3),
      b1: list((expert) => expert.b1),
      b2: list((expert) => expert.b2),
      b3: list((expert) => expert.b3),
    };
    replaceByOp(graph, result, "moe", inputs, attrs, scope);
  },
});

/** True when the sum continues: another `index_add` adds to this one. */
function continues(graph: Graph, node: Node): boolean {
  return graph.users(node.outputs[0]).some((user) =>
    user.op === "index_add" && input(user, "x").id === node.outputs[0].id
  );
}

function matchLoop(probe: Probe, result: Node<"index_add">): Loop {
  probe.check(!continues(probe.graph, result), result, "the sum continues");
  const branches: Branch[] = [];
  for (let node: Node = result;;) {
    branches.push(matchBranch(probe, node));
    const previous = probe.graph.producer(input(node, "x"));
    if (previous?.op === "zeros_like") break;
    if (previous?.op !== "index_add") {
      probe.fail(node, `the sum starts from ${previous?.op ?? "an input"}, not from zeros_like`);
    }
    const readers = probe.graph.users(previous.outputs[0]).length;
    probe.check(readers === 1, previous, "a partial sum has another reader");
    node = previous;
  }
  const [first] = branches;
  for (const branch of branches) checkAlike(probe, result, first, branch);
  return {
    result,
    scope: first.oneHot.scope,
    x: first.x,
    selected: input(first.oneHot, "ids"),
    routing: first.routing,
    attrs: first.attrs,
    experts: orderExperts(probe, first.oneHot, branches),
  };
}

function matchBranch(probe: Probe, add: Node): Branch {
  const tokens = input(add, "rows");
  const where = probe.maybe(tokens, "where");
  if (!where) probe.fail(add, "its rows are not made by where");
  const { oneHot, index, tokenOutput } = matchMask(probe, where);
  probe.recognised();
  probe.check(
    where.outputs[tokenOutput].id === tokens.id,
    add,
    "it adds to rows by slot, not by token",
  );
  const slots = where.outputs[1 - tokenOutput];
  const source = input(add, "source");
  const weighted = probe.maybe(source, "mul");
  const outer = weighted && splitRouting(probe, weighted, tokens, slots);
  const down = probe.maybe(outer?.value ?? source, "linear");
  if (!down) probe.fail(add, "it does not add a linear layer times a routing weight");
  const expert = matchExpert(probe, down);
  const product = probe.maybe(expert.x, "mul");
  const inner = product && splitRouting(probe, product, tokens, slots);
  const routed = outer ?? inner;
  if (!routed || (outer && inner)) {
    probe.fail(add, `the routing weight is applied ${routed ? "twice" : "nowhere"}`);
  }
  const gathered = probe.maybe(inner?.value ?? expert.x, "index");
  if (!gathered || input(gathered, "rows").id !== tokens.id || gathered.inputs.columns) {
    probe.fail(down, "the expert does not read the rows of its tokens");
  }
  const attrs = { ...expert.attrs, applyRoutingOnInput: inner !== undefined };
  return { index, expert, x: input(gathered, "x"), oneHot, routing: routed.routing, attrs };
}

/**
 * Follows the mask of one expert back to its `one_hot`, tracking which dimension is the class, so that
 * any order of transposes and any selected dimension is recognised.
 */
function matchMask(probe: Probe, where: Node<"where">) {
  const chain: Node[] = [];
  let node = probe.graph.producer(input(where, "mask"));
  while (node && (node.op === "transpose" || node.op === "select")) {
    chain.unshift(node);
    node = probe.graph.producer(input(node, "x"));
  }
  if (!isOp(node, "one_hot")) return probe.fail(where, "its mask is not made by one_hot");
  let axes = ["token", "slot", "class"];
  let index: number | undefined;
  for (const step of chain) {
    if (isOp(step, "transpose")) {
      const [a, b] = step.attrs.dims.map((dim) => (dim + axes.length) % axes.length);
      axes = axes.with(a, axes[b]).with(b, axes[a]);
    } else if (isOp(step, "select")) {
      const [dropped] = axes.splice((step.attrs.dim + axes.length) % axes.length, 1);
      probe.check(dropped === "class", step, `it selects a ${dropped}, not an expert`);
      index = step.attrs.index;
    }
  }
  if (index === undefined || axes.length !== 2) probe.fail(where, "its mask selects no expert");
  return { oneHot: node, index, tokenOutput: axes.indexOf("token") };
}

/** `value ⊙ unsqueeze(routing[tokens, slots])`, either operand order. */
function splitRouting(
  probe: Probe,
  product: Node,
  tokens: Value,
  slots: Value,
): { value: Value; routing: Value } | undefined {
  const [a, b] = [input(product, "a"), input(product, "b")];
  for (const [value, weight] of [[a, b], [b, a]]) {
    const column = probe.maybe(weight, "unsqueeze") ?? probe.maybe(weight, "reshape");
    const picked = column && probe.maybe(input(column, "x"), "index");
    if (!picked || !picked.inputs.columns || column.outputs[0].shape[1] !== 1) continue;
    const right = input(picked, "rows").id === tokens.id &&
      input(picked, "columns").id === slots.id;
    probe.check(right, picked, "it picks routing weights by other rows than the expert's tokens");
    return { value, routing: input(picked, "x") };
  }
}

function checkAlike(probe: Probe, result: Node, first: Branch, branch: Branch): void {
  const name = `expert ${branch.index}`;
  const same = (condition: boolean, what: string) =>
    probe.check(condition, result, `${name} has ${what} than expert ${first.index}`);
  same(branch.x.id === first.x.id, "another input");
  same(branch.oneHot.id === first.oneHot.id, "another choice of experts");
  same(branch.routing.id === first.routing.id, "other routing weights");
  same(JSON.stringify(branch.attrs) === JSON.stringify(first.attrs), "another structure");
  for (const bias of ["b1", "b2", "b3"] as const) {
    same(
      (branch.expert[bias] === undefined) === (first.expert[bias] === undefined),
      `other biases`,
    );
  }
}

function orderExperts(probe: Probe, oneHot: Node<"one_hot">, branches: readonly Branch[]) {
  const experts: Expert[] = [];
  for (const { index, expert } of branches) {
    probe.check(!(index in experts), oneHot, `expert ${index} appears twice`);
    experts[index] = expert;
  }
  for (let e = 0; e < oneHot.attrs.classes; e++) {
    probe.check(e in experts, oneHot, `expert ${e} of ${oneHot.attrs.classes} is missing`);
  }
  return experts;
}
