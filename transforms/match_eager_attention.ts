/**
 * `match_eager_attention`: matmul, softmax, matmul becomes one op.
 *
 * Before (scale as a product or a quotient, of the scores or of q or k; with sinks, the softmax is
 * over scores and sinks side by side and the sinks' column is cut off after it):
 * ```text
 * %1 = transpose(k) {dims: [1, 2]}
 * %2 = matmul(a: q, b: %1)
 * %3 = mul(a: %2, b: 0.125)
 * %4 = attention_mask(positions)
 * %5 = add(a: %3, b: %4)
 * %6 = softmax(%5) {dim: -1}
 * %7 = matmul(a: %6, b: v)
 * ```
 * After:
 * ```text
 * %1 = attention(q: q, k: k, v: v, positions: positions) {scale: 0.125}
 * ```
 *
 * @module
 */

import { z } from "zod";
import {
  type AttentionAttrs,
  findMatches,
  GraphBuilder,
  input,
  inputList,
  isOp,
  type Node,
  type Probe,
  replaceNode,
  scalarOperand,
  type Value,
} from "../graph/mod.ts";
import { defineTransform } from "./transform.ts";

interface Attention {
  readonly result: Node;
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly positions: Value;
  readonly sinks?: Value;
  readonly attrs: AttentionAttrs;
}

/** See the module's documentation. */
export const matchEagerAttention = defineTransform({
  key: "match_eager_attention",
  stage: "pattern_matcher",
  summary: "Replace matmul, softmax, matmul by `attention`",
  base: { requires_shape_prop: true },
  config: z.object({}),
  plan: (graph) => findMatches(graph, "matmul", matchAttention),
  apply(graph, plan) {
    for (const { result, q, k, v, positions, sinks, attrs } of plan.matches) {
      const b = new GraphBuilder(graph, { scope: result.scope, before: graph.current(result) });
      replaceNode(graph, result, b.op("attention", { q, k, v, positions, sinks }, attrs));
    }
  },
});

function matchAttention(probe: Probe, result: Node<"matmul">): Attention {
  const { softmax, scores, sinks } = matchSoftmax(probe, result);
  probe.recognised();
  const last = softmax.outputs[0].shape.length - 1;
  const overKeys = softmax.attrs.dim === -1 || softmax.attrs.dim === last;
  probe.check(overKeys, softmax, "it is not over the keys");
  const added = probe.maybe(scores, "add");
  if (!added) probe.fail(softmax, "no mask is added before it");
  const { made: mask, other: masked } = probe.operands(added, "attention_mask");
  const outer = unscale(probe, masked);
  const product = probe.maybe(outer.value, "matmul");
  if (!product) probe.fail(added, "what is masked is no product of q and k");
  const q = unscale(probe, input(product, "a"));
  const turned = probe.from(product, "b", "transpose");
  const dims = turned.attrs.dims.map((dim) => (dim + 3) % 3).sort();
  probe.check(String(dims) === "1,2", turned, "it does not exchange tokens and elements of k");
  const k = unscale(probe, input(turned, "x"));
  const { window } = mask.attrs;
  const scale = outer.scale * q.scale * k.scale;
  return {
    result,
    q: q.value,
    k: k.value,
    v: input(result, "b"),
    positions: input(mask, "positions"),
    sinks,
    attrs: window === undefined ? { scale } : { scale, window },
  };
}

/** The softmax behind the left operand, and the sinks that join it. */
function matchSoftmax(probe: Probe, result: Node) {
  const direct = probe.maybe(input(result, "a"), "softmax");
  if (direct) return { softmax: direct, scores: input(direct, "x"), sinks: undefined };
  const cut = probe.from(result, "a", "slice");
  const softmax = probe.from(cut, "x", "softmax");
  const joined = probe.from(softmax, "x", "concat");
  const [scores, column, ...rest] = inputList(joined, "xs");
  probe.recognised();
  probe.check(rest.length === 0 && column !== undefined, joined, "it joins no single column");
  return { softmax, scores, sinks: matchSinks(probe, joined, column) };
}

/** The weight [heads] that is expanded to a column of the scores. */
function matchSinks(probe: Probe, at: Node, column: Value): Value {
  let value = column;
  for (let node = probe.graph.producer(value); node; node = probe.graph.producer(value)) {
    const reshapes = isOp(node, "expand") || isOp(node, "reshape") || isOp(node, "unsqueeze");
    if (!reshapes) probe.fail(at, `its second part is made by ${node.op}, not by sinks`);
    value = input(node, "x");
  }
  const isSinks = value.kind === "weight" && value.shape.length === 1 &&
    value.shape[0] === column.shape[0];
  probe.check(isSinks, at, "its second part is no weight [heads]");
  return value;
}

/** Takes a constant factor or divisor off a value. */
function unscale(probe: Probe, value: Value): { value: Value; scale: number } {
  const node = probe.graph.producer(value);
  if (!node || !(isOp(node, "mul") || isOp(node, "div"))) return { value, scale: 1 };
  const operand = scalarOperand(node);
  if (!operand) return { value, scale: 1 };
  return {
    value: operand.value,
    scale: node.op === "mul" ? operand.scalar : 1 / operand.scalar,
  };
}
