/**
 * Experts that compute every token in batched products, one matrix of all experts each, as some
 * modelling code writes them: `bmm(x of all experts, gate_up) -> activation -> bmm(.., down)`. Where the
 * routing weight multiplies the experts' input it is `match_bmm_moe_pattern`'s, where it multiplies
 * their output `match_dense_moe_pattern`'s.
 *
 * @module
 */

import {
  type Graph,
  GraphBuilder,
  input,
  type MoeAttrs,
  type Node,
  type Probe,
  replaceNode,
  reshape,
  select,
  slice,
  transpose,
  type Value,
  type Weight,
} from "../../graph/mod.ts";
import { matchActivation, matchClamped } from "./moe_expert.ts";

/** Gate or up projection: columns `start:end:step` of a stack [E, H, 2I]. */
interface Columns {
  readonly start: number;
  readonly end: number;
  readonly step: number;
}

/** A layer of batched experts. */
export interface Batch {
  /** The sum over experts, which makes the result. */
  readonly result: Node;
  readonly x: Value;
  readonly selected: Value;
  readonly routing: Value;
  readonly gateUp: Stack;
  readonly down: Stack;
  readonly gate: Columns;
  readonly up: Columns;
  readonly attrs: MoeAttrs;
}

/** [E, K, N] and perhaps [E, 1, N] to add. */
interface Stack {
  readonly weight: Value;
  readonly bias: Value | undefined;
}

/** Σ over experts of what a batched product makes. */
export function matchBatch(probe: Probe, sum: Node<"sum">): Batch {
  probe.check(sum.attrs.dim === 0 && !sum.attrs.keepdim, sum, "it is not over the experts");
  const weighted = probe.maybe(input(sum, "x"), "mul");
  const outer = weighted && splitScores(probe, weighted);
  const down = stackOf(probe, outer?.value ?? input(sum, "x"), sum);
  probe.recognised();
  const { gate, up, joined, attrs } = matchActivated(probe, down.x, sum);
  const gateUp = stackOf(probe, joined, sum);
  const product = probe.maybe(gateUp.x, "mul");
  const inner = product && splitScores(probe, product);
  const scores = outer ?? inner;
  if (!scores || (outer && inner)) {
    return probe.fail(sum, `the routing weight is applied ${scores ? "twice" : "nowhere"}`);
  }
  // Of an input of zeros, biases alone make an output: that of an expert that is not chosen.
  const biased = gateUp.bias !== undefined || down.bias !== undefined;
  probe.check(!inner || !biased, sum, "its biases count for experts that are not chosen");
  const copies = probe.maybe(inner?.value ?? gateUp.x, "expand");
  const single = probe.maybe(copies && input(copies, "x"), "unsqueeze");
  if (!single) return probe.fail(sum, "its experts do not read copies of one value");
  const scatter = scores.scatter;
  return {
    result: sum,
    x: input(single, "x"),
    selected: input(scatter, "indices"),
    routing: input(scatter, "x"),
    ...{ gateUp, down, gate, up },
    attrs: { ...attrs, mlp: "gated", applyRoutingOnInput: inner !== undefined },
  };
}

/** `value ⊙ unsqueeze(transpose(scatter(weights, ids)))`, either operand order. */
function splitScores(probe: Probe, product: Node) {
  const [a, b] = [input(product, "a"), input(product, "b")];
  for (const [value, weight] of [[a, b], [b, a]]) {
    const column = probe.maybe(weight, "unsqueeze") ?? probe.maybe(weight, "reshape");
    const turned = column && probe.maybe(input(column, "x"), "transpose");
    const scatter = turned && probe.maybe(input(turned, "x"), "scatter");
    if (scatter) return { value, scatter };
  }
}

/** `matmul(x, @weight) + @bias` */
function stackOf(probe: Probe, value: Value, at: Node): Stack & { readonly x: Value } {
  const added = probe.maybe(value, "add");
  const bias = added && biasOf(added);
  const product = probe.maybe(bias?.value ?? value, "matmul");
  if (!product) return probe.fail(at, "its experts are no batched products");
  return { x: input(product, "a"), weight: probe.weight(product, "b"), bias: bias?.bias };
}

function biasOf(add: Node): { value: Value; bias: Value } | undefined {
  const [a, b] = [input(add, "a"), input(add, "b")];
  for (const [value, other] of [[a, b], [b, a]]) {
    if (other.kind === "weight") return { value, bias: other };
  }
}

/** `act(gate) ⊙ up` of two slices of one value. */
function matchActivated(probe: Probe, value: Value, at: Node) {
  const product = probe.maybe(value, "mul");
  if (!product) return probe.fail(at, "its experts are not gated");
  const clamped = matchClamped(probe, product);
  if (clamped) {
    const { alpha, limit } = clamped;
    return {
      ...partsOf(probe, at, clamped.gate, clamped.up),
      attrs: { activation: "swiglu_oai" as const, alpha, limit },
    };
  }
  const [a, b] = [input(product, "a"), input(product, "b")];
  for (const [gated, up] of [[a, b], [b, a]]) {
    const activation = matchActivation(probe, gated);
    if (!activation) continue;
    return { ...partsOf(probe, at, activation.x, up), attrs: { activation: activation.name } };
  }
  return probe.fail(product, "neither operand is an activation");
}

function partsOf(probe: Probe, at: Node, gate: Value, up: Value) {
  const [first, second] = [probe.maybe(gate, "slice"), probe.maybe(up, "slice")];
  if (!first || !second || input(first, "x").id !== input(second, "x").id) {
    return probe.fail(at, "gate and up projection are no parts of one product");
  }
  const joined = input(first, "x");
  const all = Number(joined.shape[joined.shape.length - 1]);
  const columns = ({ attrs: { start, end = all, step = 1 } }: Node<"slice">): Columns => ({
    start,
    end: Math.min(end, all),
    step,
  });
  return { gate: columns(first), up: columns(second), joined };
}

/** Puts a `moe` node in the place of a batch. */
export function replaceBatch(graph: Graph, batch: Batch): void {
  const { result, x, selected, routing, gateUp, down, attrs } = batch;
  const b = new GraphBuilder(graph, { scope: result.scope, before: graph.current(result) });
  const [gate, up] = [rowsOf(gateUp.weight, batch.gate), rowsOf(gateUp.weight, batch.up)];
  const outputs = rowsOf(down.weight);
  const list = (name: string, rows: readonly Weight[] | undefined) =>
    rows?.map((weight, e) => b.weight(`${e}.${name}`, weight));
  const moe = b.op("moe", {
    x,
    selected_experts: selected,
    routing_weights: routing,
    w1: list("w1", gate),
    w2: list("w2", outputs),
    w3: list("w3", up),
    b1: list("b1", biases(gateUp, batch.gate)),
    b2: list("b2", biases(down)),
    b3: list("b3", biases(gateUp, batch.up)),
  }, attrs);
  replaceNode(graph, result, moe);
}

/** The weight [E, K, N] as one matrix [rows, K] an expert; all rows by default. */
function rowsOf({ weight }: Value, columns?: Columns): Weight[] {
  if (!weight) return [];
  // One transposed weight for all experts: its reader holds one of them at a time.
  const turned = transpose(weight, 1, 2);
  return Array.from({ length: weight.shape[0] }, (_, e) => part(select(turned, 0, e), columns));
}

/** The bias [E, 1, N] as one vector an expert. */
function biases({ bias }: Stack, columns?: Columns): Weight[] | undefined {
  const weight = bias?.weight;
  if (!weight) return undefined;
  const [experts] = weight.shape;
  const flat = reshape(weight, [experts, weight.shape[weight.shape.length - 1]]);
  return Array.from({ length: experts }, (_, e) => part(select(flat, 0, e), columns));
}

function part(rows: Weight, columns: Columns | undefined): Weight {
  return columns ? slice(rows, 0, columns.start, columns.end, columns.step) : rows;
}
