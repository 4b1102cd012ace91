/**
 * How far results may be from what they are compared with. One table, so that loosening one is seen.
 *
 * @module
 */

/** Largest |got - expected| relative to the largest |expected| of the tensor. */
export const TOLERANCES = {
  /** MoE layers with f32 sums against PyTorch in float64. */
  moeF32: 1e-5,
  /** The same with weights that were rounded from bf16 to f16. */
  moeF16: 5e-3,
  /**
   * MoE layers whose operands a device rounds to f16, to either neighbour, in front of two products of
   * f32 sums: up to 2^-10 each.
   */
  moeF16Operands: 2e-3,
  /** End-to-end logits in f32 against transformers in f32. */
  logitsF32: 1e-3,
  /** The same arithmetic in another order of f64 sums, rounded to f32. */
  reordered: 1e-6,
  /** A KV cache in f16 against one in f32. */
  cacheF16: 2e-3,
  /** A KV cache in E4M3, whose numbers are off by up to a sixteenth, against one in f32. */
  cacheE4m3: 0.1,
  /** One WebGPU kernel in f32 against the CPU's f64 sums, relative to the larger of 1 and the largest. */
  kernelF32: 5e-6,
  /** The same where a number on its way through an f16 cache may be rounded to either neighbour. */
  kernelF16Cache: 2e-4,
} as const;

/** Largest |got - expected| relative to the largest |expected|; NaN and lengths that differ are infinite. */
export function relativeError(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (got.length !== expected.length) return Infinity;
  let [worst, largest] = [0, 0];
  for (let i = 0; i < got.length; i++) {
    const difference = Math.abs(got[i] - expected[i]);
    if (Number.isNaN(difference)) return Infinity;
    worst = Math.max(worst, difference);
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return worst === 0 ? 0 : worst / largest;
}
