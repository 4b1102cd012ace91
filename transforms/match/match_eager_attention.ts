/**
 * `match_eager_attention`: matmul, softmax, matmul becomes one op.
 *
 * Before (scale as a product or a quotient, of the scores or of q or k):
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

import {
  type AttentionAttrs,
  input,
  isOp,
  type Node,
  type Probe,
  scalarOperand,
  type Value,
} from "../../graph/mod.ts";
import { definePattern, replaceByOp } from "./pattern.ts";

interface Attention {
  readonly result: Node;
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly positions: Value;
  readonly attrs: AttentionAttrs;
}

/** See the module's documentation. */
export const matchEagerAttention = definePattern({
  key: "match_eager_attention",
  summary: "Replace matmul, softmax, matmul by `attention`",
  base: { requires_shape_prop: true },
  root: "matmul",
  match: matchAttention,
  rewrite: (graph, { result, attrs, ...inputs }) =>
    replaceByOp(graph, result, "attention", inputs, attrs),
});

function matchAttention(probe: Probe, result: Node<"matmul">): Attention {
  const softmax = probe.from(result, "a", "softmax");
  probe.recognised();
  const last = softmax.outputs[0].shape.length - 1;
  const overKeys = softmax.attrs.dim === -1 || softmax.attrs.dim === last;
  probe.check(overKeys, softmax, "it is not over the keys");
  const added = probe.maybe(input(softmax, "x"), "add");
  if (!added) probe.fail(softmax, "no mask is added before it");
  const { made: mask, other: masked } = probe.operands(added, "attention_mask");
  const outer = unscale(probe, masked);
  const product = probe.maybe(outer.value, "matmul");
  if (!product) probe.fail(added, "the masked value is not a product of q and k");
  const q = unscale(probe, input(product, "a"));
  const turned = probe.from(product, "b", "transpose");
  const dims = turned.attrs.dims.map((dim) => (dim + 3) % 3).sort();
  probe.check(String(dims) === "1,2", turned, "it does not exchange tokens and elements of k");
  const k = unscale(probe, input(turned, "x"));
  const { window, chunk } = mask.attrs;
  const scale = outer.scale * q.scale * k.scale;
  return {
    result,
    q: q.value,
    k: k.value,
    v: input(result, "b"),
    positions: input(mask, "positions"),
    attrs: {
      scale,
      ...(window !== undefined && { window }),
      ...(chunk !== undefined && { chunk }),
    },
  };
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
