/**
 * `match_rope_pattern`: rotary position embedding, from frequencies to rotated heads, becomes one op.
 *
 * Before (rotate-half layout; the first four nodes are shared by all layers):
 * ```text
 * %1 = mul(a: unsqueeze(cast(positions)), b: @inv_freq)        [T, D/2]
 * %2 = concat(xs: [%1, %1]) {dim: -1}
 * %3 = cos(%2)
 * %4 = sin(%2)
 * %5 = concat(xs: [neg(slice(x, D/2..D)), slice(x, 0..D/2)]) {dim: -1}
 * %6 = add(a: mul(a: x, b: %3), b: mul(a: %5, b: %4))
 * ```
 * After:
 * ```text
 * %1 = rope(x: x, positions: positions, inv_freq: @inv_freq)
 *      {layout: half, rotaryDim: D, attentionScaling: 1}
 * ```
 * Where neighbours turn with each other (`layout: interleaved`), the pattern is
 * `reshape(concat([even · cos - odd · sin, even · sin + odd · cos]))` of the even and odd elements.
 * Where only the first elements of a head are rotated, the slices and the concat around the pattern are
 * part of it.
 *
 * @module
 */

import {
  findMatches,
  input,
  inputList,
  isOp,
  type Node,
  type Probe,
  type RopeAttrs,
  scalarOperand,
  type Value,
} from "../../graph/mod.ts";
import { definePattern, replaceByOp } from "./pattern.ts";

interface Rope {
  readonly result: Node;
  readonly x: Value;
  readonly positions: Value;
  readonly inverseFrequencies: Value;
  readonly attrs: RopeAttrs;
}

/** See the module's documentation. */
export const matchRopePattern = definePattern({
  key: "match_rope_pattern",
  summary: "Replace cos, sin and rotate-half by `rope`",
  root: "add",
  match: matchRope,
  otherForms: (graph) => findMatches(graph, "reshape", matchPairs),
  rewrite: (graph, { result, x, positions, inverseFrequencies, attrs }) =>
    replaceByOp(graph, result, "rope", { x, positions, inv_freq: inverseFrequencies }, attrs),
});

function matchRope(probe: Probe, sum: Node<"add">): Rope {
  const [left, right] = [probe.from(sum, "a", "mul"), probe.from(sum, "b", "mul")];
  for (const [straight, crossed] of [[left, right], [right, left]]) {
    const rotated = rotatedOperand(probe, crossed);
    if (!rotated) continue;
    probe.recognised();
    const x = rotated.x;
    const cos = otherOperand(probe, straight, x);
    const angle = matchAngle(probe, sum, cos, "cos");
    const across = matchAngle(probe, sum, rotated.sin, "sin");
    const same = angle.angles.id === across.angles.id && angle.scaling === across.scaling;
    probe.check(same, sum, "cos and sin have different angles");
    const { positions, inverseFrequencies } = matchFrequencies(probe, sum, angle.angles);
    const rotaryDim = Number(x.shape[x.shape.length - 1]);
    const attrs = { layout: "half", rotaryDim, attentionScaling: angle.scaling } as const;
    return { ...matchPartial(probe, sum, x), positions, inverseFrequencies, attrs };
  }
  return probe.fail(sum, "no operand is rotate_half(x)");
}

/** Neighbours as complex numbers, times `cos + i sin`. */
function matchPairs(probe: Probe, result: Node<"reshape">): Rope {
  const joined = probe.from(result, "x", "concat");
  const columns = inputList(joined, "xs").map((value) => probe.maybe(value, "unsqueeze"));
  const [first, second] = columns.map((column) => column && input(column, "x"));
  const real = columns.length === 2 ? probe.maybe(first, "sub") : undefined;
  const imaginary = probe.maybe(second, "add");
  if (!real || !imaginary) return probe.fail(joined, "it does not join a difference and a sum");
  const [evenCos, oddSin] = [probe.from(real, "a", "mul"), probe.from(real, "b", "mul")];
  const [evenSin, oddCos] = [probe.from(imaginary, "a", "mul"), probe.from(imaginary, "b", "mul")];
  const even = probe.from(evenCos, "a", "slice");
  const odd = probe.from(oddSin, "a", "slice");
  probe.recognised();
  const x = input(even, "x");
  const alternates = input(odd, "x").id === x.id && even.attrs.start === 0 &&
    odd.attrs.start === 1 && even.attrs.step === 2 && odd.attrs.step === 2;
  probe.check(alternates, real, "it does not rotate even with odd elements");
  const crossed = input(evenSin, "a").id === even.outputs[0].id &&
    input(oddCos, "a").id === odd.outputs[0].id;
  probe.check(crossed, imaginary, "it does not rotate the same elements as its real part");
  const angle = matchAngle(probe, real, input(evenCos, "b"), "cos");
  const across = matchAngle(probe, real, input(oddSin, "b"), "sin");
  const same = angle.angles.id === across.angles.id && angle.scaling === across.scaling &&
    input(evenSin, "b").id === input(oddSin, "b").id &&
    input(oddCos, "b").id === input(evenCos, "b").id;
  probe.check(same, real, "cos and sin have different angles");
  const rotaryDim = Number(x.shape[x.shape.length - 1]);
  const attrs = { layout: "interleaved", rotaryDim, attentionScaling: angle.scaling } as const;
  const product = producerBehindViews(probe, angle.angles);
  return { ...matchPartial(probe, result, x), ...matchProduct(probe, real, product), attrs };
}

/** `rotate_half(x) ⊙ sin`, with rotate_half(x) = [-x[D/2..], x[..D/2]]. */
function rotatedOperand(probe: Probe, product: Node): { x: Value; sin: Value } | undefined {
  const [a, b] = [input(product, "a"), input(product, "b")];
  for (const [turned, sin] of [[a, b], [b, a]]) {
    const joined = probe.maybe(turned, "concat");
    const [first, second, ...rest] = joined ? inputList(joined, "xs") : [];
    const negated = probe.maybe(first, "neg");
    const upper = negated && probe.maybe(input(negated, "x"), "slice");
    const lower = probe.maybe(second, "slice");
    if (!upper || !lower || rest.length > 0) continue;
    const x = input(upper, "x");
    const size = Number(x.shape[x.shape.length - 1]);
    const halves = input(lower, "x").id === x.id && lower.attrs.start === 0 &&
      lower.attrs.end === size / 2 && upper.attrs.start === size / 2;
    if (halves) return { x, sin };
  }
}

function otherOperand(probe: Probe, product: Node, x: Value): Value {
  const [a, b] = [input(product, "a"), input(product, "b")];
  probe.check(
    a.id === x.id || b.id === x.id,
    product,
    "it does not multiply the value that is rotated",
  );
  return a.id === x.id ? b : a;
}

/** `cos(angles)` or `sin(angles)`, perhaps times a constant, perhaps with dimensions of size 1. */
function matchAngle(probe: Probe, at: Node, value: Value, op: "cos" | "sin") {
  let scaling = 1;
  let node = producerBehindViews(probe, value);
  if (node && isOp(node, "mul")) {
    const factor = scalarOperand(node);
    if (!factor) return probe.fail(node, `it is not ${op} times a constant`);
    scaling = factor.scalar;
    node = producerBehindViews(probe, factor.value);
  }
  if (!isOp(node, op)) return probe.fail(at, `its ${op} is made by ${node?.op ?? "an input"}`);
  return { angles: input(node, "x"), scaling };
}

/** `[f, f]` with f = position · inv_freq. */
function matchFrequencies(probe: Probe, at: Node, angles: Value) {
  const joined = producerBehindViews(probe, angles);
  if (!isOp(joined, "concat")) return probe.fail(at, "its angles are not two equal halves");
  const [first, second, ...rest] = inputList(joined, "xs");
  const twice = rest.length === 0 && second !== undefined && first.id === second.id;
  probe.check(twice, joined, "its halves differ");
  return matchProduct(probe, joined, producerBehindViews(probe, first));
}

/** `position · inv_freq`, either operand order. */
function matchProduct(probe: Probe, joined: Node, product: Node | undefined) {
  if (!isOp(product, "mul") && !isOp(product, "matmul")) {
    return probe.fail(joined, "its angles are not a product of positions and frequencies");
  }
  const operands = [input(product, "a"), input(product, "b")].map((value) => source(probe, value));
  const inverseFrequencies = operands.find((value) => value.kind === "weight");
  const positions = operands.find((value) => value.kind === "input");
  if (!inverseFrequencies || !positions || inverseFrequencies.shape.length !== 1) {
    return probe.fail(product, "its operands are not positions and constant frequencies [D/2]");
  }
  return { positions, inverseFrequencies };
}

/**
 * When the rotated value is the start of a head and the rest is joined to it, the pattern is the
 * whole head.
 */
function matchPartial(probe: Probe, sum: Node, x: Value): { result: Node; x: Value } {
  const start = probe.maybe(x, "slice");
  const users = probe.graph.users(sum.outputs[0]);
  const joined = users.length === 1 && isOp(users[0], "concat") ? users[0] : undefined;
  if (!start || !joined) return { result: sum, x };
  const [first, second, ...rest] = inputList(joined, "xs");
  const pass = probe.maybe(second, "slice");
  const head = input(start, "x");
  const size = Number(x.shape[x.shape.length - 1]);
  const whole = rest.length === 0 && first.id === sum.outputs[0].id && pass !== undefined &&
    input(pass, "x").id === head.id && start.attrs.start === 0 && pass.attrs.start === size &&
    String(joined.outputs[0].shape) === String(head.shape);
  return whole ? { result: joined, x: head } : { result: sum, x };
}

/** The node behind views that only add or drop dimensions of size 1. */
function producerBehindViews(probe: Probe, value: Value): Node | undefined {
  let node = probe.graph.producer(value);
  while (node && (isOp(node, "unsqueeze") || isOp(node, "reshape") || isOp(node, "cast"))) {
    node = probe.graph.producer(input(node, "x"));
  }
  return node;
}

/** The input or weight behind views and casts, or the value itself. */
function source(probe: Probe, value: Value): Value {
  let current = value;
  for (let node = probe.graph.producer(current); node; node = probe.graph.producer(current)) {
    const passes = isOp(node, "unsqueeze") || isOp(node, "reshape") || isOp(node, "cast") ||
      isOp(node, "expand") || isOp(node, "transpose");
    if (!passes) return value;
    current = input(node, "x");
  }
  return current;
}
