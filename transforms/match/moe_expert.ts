/**
 * Recognises one expert, or one dense MLP: which weights, which activation, gated or not.
 *
 * @module
 */

import {
  type Activation,
  ACTIVATION_NAMES,
  input,
  type MoeAttrs,
  type Node,
  optionalInput,
  type Probe,
  scalarOperand,
  type Value,
} from "../../graph/mod.ts";

/** What an expert computes from `x`. */
export interface Expert {
  readonly x: Value;
  readonly attrs: Pick<MoeAttrs, "mlp" | "activation" | "alpha" | "limit">;
  readonly w1: Value;
  readonly w2: Value;
  readonly w3?: Value;
  readonly b1?: Value;
  readonly b2?: Value;
  readonly b3?: Value;
}

interface MatchedActivation {
  readonly name: Activation;
  readonly x: Value;
}

/** Matches an expert whose last node is the down projection `down`. */
export function matchExpert(probe: Probe, down: Node<"linear">): Expert {
  const w2 = plainWeight(probe, down);
  const b2 = optionalInput(down, "bias");
  const inner = probe.graph.producer(input(down, "x"));
  if (!inner) probe.fail(down, "its input is not an activation");
  const plain = matchActivation(probe, input(down, "x"));
  if (plain) {
    const gate = linearOf(probe, inner, plain.x);
    return { ...gate, attrs: { mlp: "plain", activation: plain.name }, w2, b2 };
  }
  if (inner.op !== "mul") probe.fail(inner, "it is neither an activation nor a product of two");
  return { ...(matchClampedSwiglu(probe, inner) ?? matchGated(probe, inner)), w2, b2 };
}

type Gated = Omit<Expert, "w2" | "b2">;

/** `act(w1 · x) ⊙ (w3 · x)`, either operand order. */
function matchGated(probe: Probe, product: Node): Gated {
  const [a, b] = [input(product, "a"), input(product, "b")];
  for (const [gate, up] of [[a, b], [b, a]]) {
    const activation = matchActivation(probe, gate);
    if (!activation) continue;
    const first = linearOf(probe, product, activation.x);
    const third = linearOf(probe, product, up);
    probe.check(
      first.x.id === third.x.id,
      product,
      "gate and up projection read different values",
    );
    return {
      ...first,
      w3: third.w1,
      b3: third.b1,
      attrs: { mlp: "gated", activation: activation.name },
    };
  }
  const identity = matchLinearActivation(probe, a, b);
  if (identity) return identity;
  return probe.fail(product, "neither operand is an activation of a linear layer");
}

/** `(w1 · x) ⊙ (w3 · x)`: the activation is `linear`. */
function matchLinearActivation(probe: Probe, a: Value, b: Value): Gated | undefined {
  const [gate, up] = [probe.maybe(a, "linear"), probe.maybe(b, "linear")];
  if (!gate || !up || input(gate, "x").id !== input(up, "x").id) return undefined;
  const [first, third] = [linearOf(probe, gate, a), linearOf(probe, up, b)];
  return {
    ...first,
    w3: third.w1,
    b3: third.b1,
    attrs: { mlp: "gated", activation: "linear" },
  };
}

/** gpt-oss: `(clamp(up, ±limit) + 1) ⊙ (g · sigmoid(alpha · g))` with `g = min(gate, limit)`. */
function matchClampedSwiglu(probe: Probe, product: Node): Gated | undefined {
  const clamped = matchClamped(probe, product);
  if (!clamped) return undefined;
  const { alpha, limit } = clamped;
  const first = linearOf(probe, product, clamped.gate);
  const third = linearOf(probe, product, clamped.up);
  probe.check(
    first.x.id === third.x.id,
    product,
    "gate and up projection read different values",
  );
  const attrs = { mlp: "gated", activation: "swiglu_oai", alpha, limit } as const;
  return { ...first, w3: third.w1, b3: third.b1, attrs };
}

/** The clamped activation of gpt-oss over any gate and up projection. */
export function matchClamped(
  probe: Probe,
  product: Node,
): { gate: Value; up: Value; alpha: number; limit: number } | undefined {
  const [a, b] = [input(product, "a"), input(product, "b")];
  for (const [left, right] of [[a, b], [b, a]]) {
    const shifted = probe.maybe(left, "add");
    const glu = probe.maybe(right, "mul");
    const one = shifted && scalarOperand(shifted);
    const swish = glu && swishOf(probe, glu);
    if (one?.scalar !== 1 || !swish) continue;
    const up = probe.maybe(one.value, "clamp");
    const gate = probe.maybe(swish.x, "clamp");
    if (!up || !gate) probe.fail(product, "gate and up projection are not both clamped");
    const limit = gate.attrs.max;
    const fits = gate.attrs.min === undefined && limit !== undefined &&
      up.attrs.max === limit && up.attrs.min === -limit;
    if (!fits) probe.fail(product, "gate and up projection are clamped to different limits");
    return { gate: input(gate, "x"), up: input(up, "x"), alpha: swish.alpha, limit };
  }
}

/** `x · sigmoid(alpha · x)`. */
function swishOf(probe: Probe, product: Node): { x: Value; alpha: number } | undefined {
  const [a, b] = [input(product, "a"), input(product, "b")];
  for (const [x, gate] of [[a, b], [b, a]]) {
    const sigmoid = probe.maybe(gate, "sigmoid");
    const scaled = sigmoid && probe.maybe(input(sigmoid, "x"), "mul");
    const factor = scaled && scalarOperand(scaled);
    if (factor?.value.id === x.id) return { x, alpha: factor.scalar };
  }
}

/** An activation by one op, `relu(x)²`, or `x · sigmoid(x)`. */
export function matchActivation(probe: Probe, value: Value): MatchedActivation | undefined {
  const node = probe.graph.producer(value);
  // The op "linear" is a matrix product, not the activation of that name.
  const name = ACTIVATION_NAMES.find((each) => each !== "linear" && each === node?.op);
  if (node && name) return { name, x: input(node, "x") };
  if (node?.op === "pow") {
    const relu = probe.maybe(input(node, "x"), "relu");
    const squared = (node as Node<"pow">).attrs.exponent === 2;
    return relu && squared ? { name: "relu2", x: input(relu, "x") } : undefined;
  }
  if (node?.op !== "mul") return undefined;
  const [a, b] = [input(node, "a"), input(node, "b")];
  const relu = probe.maybe(a, "relu");
  if (relu && a.id === b.id) return { name: "relu2", x: input(relu, "x") };
  for (const [x, gate] of [[a, b], [b, a]]) {
    const sigmoid = probe.maybe(gate, "sigmoid");
    if (sigmoid && input(sigmoid, "x").id === x.id) return { name: "silu", x };
  }
}

function linearOf(probe: Probe, at: Node, value: Value) {
  const linear = probe.maybe(value, "linear");
  if (!linear) {
    const got = probe.graph.producer(value)?.op ?? value.kind;
    return probe.fail(at, `its operand is made by ${got}, not by a linear layer`);
  }
  return {
    x: input(linear, "x"),
    w1: plainWeight(probe, linear),
    b1: optionalInput(linear, "bias"),
  };
}

/** The weight of a linear layer; a packed one has scales, which a match would lose. */
export function plainWeight(probe: Probe, linear: Node<"linear">): Value {
  const { format } = linear.attrs;
  probe.check(format === undefined, linear, `its weight is packed as ${format}`);
  return probe.weight(linear, "w");
}
