/**
 * Elementwise ops, reductions and casts.
 *
 * @module
 */

import type { DType } from "../dtype.ts";
import { broadcastShapes, normalizeDim } from "../shape.ts";
import { expect, fail, formatType, type OpDefinition, type OpTable, sizeOf } from "./definition.ts";
import type { TensorType } from "../tensor.ts";

/** Attributes of an op that has none. */
export type NoAttrs = Record<never, never>;

/** Attributes of a reduction along dimension `dim`, which stays with size 1 or goes. */
export interface ReductionAttrs {
  /** From the end when negative. */
  readonly dim: number;
  /** Whether the dimension stays, with size 1. */
  readonly keepdim: boolean;
}

function unary(summary: string, flopsPerElement = 1): OpDefinition<NoAttrs> {
  return {
    summary,
    inputs: ["x"],
    infer: (inputs) => [inputs.get("x")],
    flops: (inputs, _attrs, bindings) => flopsPerElement * sizeOf(inputs.get("x"), bindings),
  };
}

function binary(summary: string): OpDefinition<NoAttrs> {
  return {
    summary,
    inputs: ["a", "b"],
    infer: (inputs) => [broadcast(inputs.get("a"), inputs.get("b"))],
    flops: (inputs, _attrs, bindings) =>
      sizeOf(broadcast(inputs.get("a"), inputs.get("b")), bindings),
  };
}

function broadcast(a: TensorType, b: TensorType): TensorType {
  const shape = broadcastShapes(a.shape, b.shape);
  if (!shape) fail("shapes that broadcast", `${formatType(a)} and ${formatType(b)}`);
  return { dtype: a.dtype, shape };
}

function reduction(summary: string): OpDefinition<ReductionAttrs> {
  return {
    summary,
    inputs: ["x"],
    infer(inputs, { dim, keepdim }) {
      const { dtype, shape } = inputs.get("x");
      const at = normalizeDim(dim, shape.length);
      expect(at >= 0 && at < shape.length, `dimension ${dim} of the input`, inputs.get("x"));
      return [{ dtype, shape: keepdim ? shape.with(at, 1) : shape.toSpliced(at, 1) }];
    },
    flops: (inputs, _attrs, bindings) => sizeOf(inputs.get("x"), bindings),
  };
}

/** Attributes of the elementwise ops and reductions, by name. */
export type ElementwiseOps = {
  readonly add: NoAttrs;
  readonly sub: NoAttrs;
  readonly mul: NoAttrs;
  readonly div: NoAttrs;
  readonly neg: NoAttrs;
  readonly rsqrt: NoAttrs;
  readonly cos: NoAttrs;
  readonly sin: NoAttrs;
  readonly tanh: NoAttrs;
  readonly log: NoAttrs;
  readonly floor: NoAttrs;
  readonly relu: NoAttrs;
  readonly relu6: NoAttrs;
  readonly leaky_relu: NoAttrs;
  readonly sigmoid: NoAttrs;
  readonly silu: NoAttrs;
  readonly gelu: NoAttrs;
  readonly gelu_tanh: NoAttrs;
  readonly gelu_10: NoAttrs;
  readonly quick_gelu: NoAttrs;
  readonly mish: NoAttrs;
  readonly laplace: NoAttrs;
  readonly softplus: NoAttrs;
  readonly pow: { exponent: number };
  readonly clamp: { min?: number; max?: number };
  readonly cast: { dtype: DType };
  readonly mean: ReductionAttrs;
  readonly sum: ReductionAttrs;
  readonly softmax: { dim: number };
};

/** Elementwise ops by name. Real numbers are computed in f32 whatever type holds them. */
export const ELEMENTWISE_OPS: OpTable<ElementwiseOps> = {
  add: binary("a + b, broadcast"),
  sub: binary("a - b, broadcast"),
  mul: binary("a · b, broadcast"),
  div: binary("a / b, broadcast"),
  neg: unary("-x"),
  rsqrt: unary("1 / √x"),
  cos: unary("cos x"),
  sin: unary("sin x"),
  tanh: unary("tanh x", 4),
  log: unary("natural logarithm of x", 4),
  floor: unary("the largest whole number that is not above x"),
  relu: unary("max(x, 0)"),
  relu6: unary("min(max(x, 0), 6)"),
  leaky_relu: unary("x, or x / 100 where it is negative"),
  sigmoid: unary("1 / (1 + e⁻ˣ)", 4),
  silu: unary("x · sigmoid(x)", 5),
  gelu: unary("x · Φ(x) with the error function", 8),
  gelu_tanh: unary("x · Φ(x) by the tanh approximation", 8),
  gelu_10: unary("min(max(gelu(x), -10), 10)", 8),
  quick_gelu: unary("x · sigmoid(1.702 x)", 5),
  mish: unary("x · tanh(log(1 + eˣ))", 8),
  laplace: unary("(1 + erf((x - √½) / (√2 · √(1 / 4π)))) / 2", 8),
  softplus: unary("log(1 + eˣ)", 6),
  pow: {
    summary: "x to a constant power",
    inputs: ["x"],
    infer: (inputs) => [inputs.get("x")],
    flops: (inputs, _attrs, bindings) => sizeOf(inputs.get("x"), bindings),
  },
  clamp: {
    summary: "min(max(x, min), max)",
    inputs: ["x"],
    infer: (inputs) => [inputs.get("x")],
    flops: (inputs, _attrs, bindings) => sizeOf(inputs.get("x"), bindings),
  },
  cast: {
    summary: "the same numbers in another element type",
    inputs: ["x"],
    infer: (inputs, { dtype }) => [{ dtype, shape: inputs.get("x").shape }],
  },
  mean: reduction("mean along one dimension"),
  sum: reduction("sum along one dimension"),
  softmax: {
    summary: "softmax along one dimension, shifted by its maximum",
    inputs: ["x"],
    infer: (inputs) => [inputs.get("x")],
    flops: (inputs, _attrs, bindings) => 4 * sizeOf(inputs.get("x"), bindings),
  },
};
