/**
 * What numbers a tensor holds: their range, and those that later steps stumble over.
 *
 * @module
 */

import { type DType, elementCount } from "../../graph/mod.ts";
import { toF32 } from "../formats/convert.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { TensorInfo } from "./safetensors.ts";

/** Counts and extremes of the elements of some tensors; extremes are those of finite elements. */
export interface TensorStatistics {
  readonly elements: number;
  readonly least: number;
  readonly most: number;
  readonly zeros: number;
  readonly nan: number;
  readonly infinite: number;
  /** Finite elements whose absolute value is above the largest number of f16, 65504. */
  readonly aboveF16: number;
  /** Elements that are not zero and round to zero in f16: at most 2^-25. */
  readonly vanishInF16: number;
}

/** Types whose elements are numbers by themselves; packed codes mean nothing without their scales. */
const NUMBERS: readonly DType[] = ["f32", "f16", "bf16"];
const CHUNK_BYTES = 16 * 2 ** 20;
const LARGEST_F16 = 65504;
const VANISHING = 2 ** -25;

/** Statistics of no elements. */
export const NO_STATISTICS: TensorStatistics = {
  ...{ elements: 0, least: Infinity, most: -Infinity, zeros: 0, nan: 0, infinite: 0 },
  ...{ aboveF16: 0, vanishInF16: 0 },
};

/**
 * Reads a tensor in pieces of 16 MiB and looks at every element; undefined for packed codes. Elements
 * that are not finite are counted here, while reading weights for a deployment raises an error.
 *
 * @throws {DOMException} AbortError, between two pieces.
 */
export async function tensorStatistics(
  checkpoint: Checkpoint,
  { dtype, shape, file, byteOffset, byteLength }: TensorInfo,
  signal?: AbortSignal,
): Promise<TensorStatistics | undefined> {
  const source = checkpoint.files.get(file);
  if (!source || !NUMBERS.includes(dtype) || elementCount(shape) === 0) return undefined;
  const buffer = new Uint8Array(Math.min(CHUNK_BYTES, byteLength));
  let all = NO_STATISTICS;
  for (let at = 0; at < byteLength; at += buffer.length) {
    signal?.throwIfAborted();
    const bytes = buffer.subarray(0, Math.min(buffer.length, byteLength - at));
    await source.readInto(byteOffset + at, bytes);
    all = joinStatistics(all, statisticsOf(toF32(dtype, bytes)));
  }
  return all;
}

/**
 * Statistics of numbers.
 *
 * @example
 * ```ts
 * import { statisticsOf } from "./tensor_statistics.ts";
 * const { most, nan, aboveF16 } = statisticsOf(Float32Array.of(1, NaN, 70000));
 * console.assert(most === 70000 && nan === 1 && aboveF16 === 1);
 * ```
 */
export function statisticsOf(values: Float32Array): TensorStatistics {
  let [least, most, zeros, nan, infinite, aboveF16, vanishInF16] = [
    Infinity,
    -Infinity,
    0,
    0,
    0,
    0,
    0,
  ];
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    const size = Math.abs(value);
    if (size <= LARGEST_F16) {
      if (value === 0) zeros++;
      else if (size <= VANISHING) vanishInF16++;
    } else if (size === Infinity) {
      infinite++;
      continue;
    } else if (Number.isNaN(size)) {
      nan++;
      continue;
    } else {
      aboveF16++;
    }
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return { elements: values.length, least, most, zeros, nan, infinite, aboveF16, vanishInF16 };
}

/** Statistics of the elements of both. */
export function joinStatistics(a: TensorStatistics, b: TensorStatistics): TensorStatistics {
  return {
    elements: a.elements + b.elements,
    least: Math.min(a.least, b.least),
    most: Math.max(a.most, b.most),
    zeros: a.zeros + b.zeros,
    nan: a.nan + b.nan,
    infinite: a.infinite + b.infinite,
    aboveF16: a.aboveF16 + b.aboveF16,
    vanishInF16: a.vanishInF16 + b.vanishInF16,
  };
}
