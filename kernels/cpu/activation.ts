/**
 * Activation functions in f64.
 *
 * @module
 */

import type { Activation } from "../../graph/mod.ts";

/** 1 / (1 + e⁻ˣ) */
export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** x · sigmoid(x) */
export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/**
 * Complementary error function, within a few units of the last f64 digit. Below 3 the series
 * erf x = 2/√π · e^(-x²) · Σ 2ⁿ x²ⁿ⁺¹ / (2n+1)!! has only positive terms, so nothing cancels; above,
 * the continued fraction of Abramowitz and Stegun 7.1.14 converges fast.
 */
export function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  if (Number.isNaN(x)) return NaN;
  if (x > 27) return 0;
  const scale = Math.exp(-x * x) / Math.sqrt(Math.PI);
  if (x < 3) {
    let term = x;
    let sum = x;
    for (let n = 1; term > sum * 1e-17; n++) sum += term *= 2 * x * x / (2 * n + 1);
    return 1 - 2 * scale * sum;
  }
  let fraction = x;
  for (let n = 40; n > 0; n--) fraction = x + n / 2 / fraction;
  return scale / fraction;
}

/** x · Φ(x), with Φ by the error function. */
export function gelu(x: number): number {
  if (x === -Infinity) return -0;
  return 0.5 * x * erfc(-x / Math.SQRT2);
}

/** x · Φ(x) by the tanh approximation. */
export function geluTanh(x: number): number {
  if (x === -Infinity) return -0;
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
}

/** max(x, 0)² */
export function relu2(x: number): number {
  return Math.max(x, 0) ** 2;
}

/** Parameters of `swiglu_oai`. */
export interface SwigluLimits {
  readonly alpha?: number;
  readonly limit?: number;
}

/** gpt-oss's gated activation: (clamp(up, ±limit) + 1) · g · sigmoid(alpha · g), g = min(gate, limit). */
export function swigluOai(gate: number, up: number, options: SwigluLimits): number {
  const { alpha = 1.702, limit = 7 } = options;
  const g = Math.min(gate, limit);
  return (Math.min(Math.max(up, -limit), limit) + 1) * g * sigmoid(alpha * g);
}

/** x · tanh(log(1 + eˣ)) */
export function mish(x: number): number {
  return x === -Infinity ? -0 : x * Math.tanh(Math.log1p(Math.exp(-Math.abs(x))) + Math.max(x, 0));
}

/** (1 + erf((x - mu) / (sigma · √2))) / 2 with transformers' mu and sigma. */
export function laplace(x: number): number {
  return 0.5 * erfc((0.707107 - x) / (0.282095 * Math.SQRT2));
}

/** Activations of one number; `swiglu_oai` takes gate and up together. */
export const ACTIVATIONS: Readonly<Record<Activation, (x: number) => number>> = {
  silu,
  gelu,
  gelu_tanh: geluTanh,
  gelu_10: (x) => Math.min(Math.max(gelu(x), -10), 10),
  quick_gelu: (x) => x === -Infinity ? -0 : x * sigmoid(1.702 * x),
  mish,
  laplace,
  relu: (x) => Math.max(x, 0),
  relu2,
  relu6: (x) => Math.min(Math.max(x, 0), 6),
  leaky_relu: (x) => Math.max(x, 0.01 * x),
  sigmoid,
  tanh: Math.tanh,
  linear: (x) => x,
};
