/**
 * Building blocks of eager graphs: the same plain operations, in the same order, as transformers'
 * modelling code. Transforms recognise these forms; keep them plain.
 *
 * @module
 */

import { constant, type GraphBuilder, type Value, type Weight } from "../../graph/mod.ts";

/** RMSNorm over the last dimension: `w · (x · rsqrt(mean(x²) + eps))`. */
export function rmsNorm(
  b: GraphBuilder,
  name: string,
  x: Value,
  weight: Weight,
  eps: number,
): Value {
  return b.within(name, () => {
    const normed = l2Normed(b, x, eps);
    return b.op("mul", { a: b.weight("weight", weight), b: normed });
  });
}

/** RMSNorm without a weight, which counts as ones. */
export function plainRmsNorm(b: GraphBuilder, name: string, x: Value, eps: number): Value {
  const ones = constant(new Float32Array(Number(x.shape.at(-1))).fill(1));
  return rmsNorm(b, name, x, ones, eps);
}

/** Llama 4's L2 norm: `x · rsqrt(mean(x²) + eps)`. */
export function l2Norm(b: GraphBuilder, name: string, x: Value, eps: number): Value {
  return b.within(name, () => l2Normed(b, x, eps));
}

function l2Normed(b: GraphBuilder, x: Value, eps: number): Value {
  const variance = b.op("mean", { x: b.op("pow", { x }, { exponent: 2 }) }, {
    dim: -1,
    keepdim: true,
  });
  const scale = b.op("rsqrt", { x: b.op("add", { a: variance, b: b.scalar(eps) }) });
  return b.op("mul", { a: x, b: scale });
}

/** LayerNorm over the last dimension: `(x - mean(x)) · rsqrt(variance(x) + eps) · w + bias`. */
export function layerNorm(
  b: GraphBuilder,
  name: string,
  x: Value,
  { weight, bias }: Projection,
  eps: number,
): Value {
  return b.within(name, () => {
    const mean = b.op("mean", { x }, { dim: -1, keepdim: true });
    const normed = l2Normed(b, b.op("sub", { a: x, b: mean }), eps);
    const scaled = b.op("mul", { a: normed, b: b.weight("weight", weight) });
    return bias ? b.op("add", { a: scaled, b: b.weight("bias", bias) }) : scaled;
  });
}

/** `x · wᵀ + bias` in a scope of its own. */
export function linear(
  b: GraphBuilder,
  name: string,
  x: Value,
  weight: Weight,
  bias?: Weight,
): Value {
  return b.within(name, () =>
    b.op("linear", {
      x,
      w: b.weight("weight", weight),
      bias: bias && b.weight("bias", bias),
    }));
}

/** A projection with an optional bias. */
export interface Projection {
  /** [N, K] */
  readonly weight: Weight;
  /** [N] */
  readonly bias?: Weight | undefined;
}

/** A value times a number; the value itself for 1. */
export function scaled(b: GraphBuilder, x: Value, factor: number): Value {
  return factor === 1 ? x : b.op("mul", { a: x, b: b.scalar(factor) });
}

/** `cap · tanh(x / cap)`. */
export function softCapped(b: GraphBuilder, x: Value, cap: number): Value {
  const bent = b.op("tanh", { x: b.op("div", { a: x, b: b.scalar(cap) }) });
  return b.op("mul", { a: bent, b: b.scalar(cap) });
}
