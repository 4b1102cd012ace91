/**
 * The kinds of weight expressions. `weight.ts` makes them, `models/loading/weight_reader.ts` evaluates them.
 *
 * @module
 */

import type { DType } from "./dtype.ts";
import type { WeightFormat } from "./formats/packed.ts";

interface Typed {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** A tensor that the checkpoint holds, by its name there. */
export interface TensorWeight extends Typed {
  readonly kind: "tensor";
  readonly name: string;
}

/** Values that come with the program: a scalar, RoPE frequencies. */
export interface ConstantWeight extends Typed {
  readonly kind: "constant";
  readonly data: Float32Array | Int32Array;
}

/** Parts along a new first dimension. */
export interface StackWeight extends Typed {
  readonly kind: "stack";
  readonly parts: readonly Weight[];
}

/** Parts one after the other along an existing dimension. */
export interface ConcatWeight extends Typed {
  readonly kind: "concat";
  readonly dim: number;
  readonly parts: readonly Weight[];
}

/** `of[..., start:end:step, ...]` along one dimension. */
export interface SliceWeight extends Typed {
  readonly kind: "slice";
  readonly dim: number;
  readonly start: number;
  readonly end: number;
  readonly step: number;
  readonly of: Weight;
}

/** Two dimensions exchanged. */
export interface TransposeWeight extends Typed {
  readonly kind: "transpose";
  readonly dims: readonly [number, number];
  readonly of: Weight;
}

/** Same elements, other dimensions. */
export interface ReshapeWeight extends Typed {
  readonly kind: "reshape";
  readonly of: Weight;
}

/** Conversion between plain element types, rounding to nearest even. */
export interface CastWeight extends Typed {
  readonly kind: "cast";
  readonly of: Weight;
}

/** Real values of a packed weight. */
export interface DequantizeWeight extends Typed {
  readonly kind: "dequantize";
  readonly format: WeightFormat;
  readonly payload: Weight;
  /** Scale tensors in the format's own order. */
  readonly scales: readonly Weight[];
  /** Elements that share a scale: `[rows, columns]`, or undefined for the format's default. */
  readonly block: readonly [number, number] | undefined;
  /** The checkpoint's scale for rounding the activations that the weight is multiplied with. */
  readonly inputScale: Weight | undefined;
}

/** One output (packed codes, or one of the scales) of quantizing a weight. */
export interface QuantizeWeight extends Typed {
  readonly kind: "quantize";
  readonly format: WeightFormat;
  readonly component: "payload" | "scale" | "scale_2";
  readonly block: readonly [number, number] | undefined;
  readonly of: Weight;
}

/** Other type and dimensions for the same bytes. */
export interface ReinterpretWeight extends Typed {
  readonly kind: "reinterpret";
  readonly of: Weight;
}

/** 1 / x of every element, f32. */
export interface ReciprocalWeight extends Typed {
  readonly kind: "reciprocal";
  readonly of: Weight;
}

/** Every element times a number, f32. */
export interface ScaledWeight extends Typed {
  readonly kind: "scaled";
  readonly of: Weight;
  readonly factor: number;
}

/** How the codes of a matrix are stored in the 32-bit words of a checkpoint. */
export interface IntegerPacking {
  readonly bits: 4 | 8;
  /** Dimension of the words along which one holds several codes. */
  readonly along: 0 | 1;
  /** Index of each code of a word, from the lowest bits up; ascending when absent. */
  readonly order?: readonly number[];
  /** The words' matrix is [columns, rows]. */
  readonly transposed: boolean;
}

/**
 * Integer codes [rows, columns] out of 32-bit words: (code + add) & mask, one byte each, or two per
 * byte with the low nibble first.
 */
export interface UnpackWeight extends Typed {
  readonly kind: "unpack";
  readonly packing: IntegerPacking;
  readonly add: number;
  readonly mask: 15 | 255;
  readonly codesPerByte: 1 | 2;
  readonly of: Weight;
}

/** Pairs (scale, (base - zero) · scale) [rows, 2 · blocks] of an affine format; f32. */
export interface AffineScalesWeight extends Typed {
  readonly kind: "affine_scales";
  /** [rows, blocks] */
  readonly scale: Weight;
  /** Integer zero points [rows, blocks]. */
  readonly zero: Weight;
  readonly base: number;
}

/** A weight whose reading assumes that some integers beside it have the expected values. */
export interface CheckedWeight extends Typed {
  readonly kind: "checked";
  readonly of: Weight;
  /** The integers. */
  readonly against: Weight;
  /** Element i must be ⌊i / step⌋ + first; a step of Infinity means all are the same. */
  readonly expected: { readonly first: number; readonly step: number };
  /** What the integers are, what says so, and what to do: the parts of the error. */
  readonly message: { readonly what: string; readonly source: string; readonly hint: string };
}

/** (code - zero) · scale [rows, columns], f32, where each column names its group. */
export interface GroupedWeight extends Typed {
  readonly kind: "grouped";
  /** Integer codes [rows, columns]. */
  readonly codes: Weight;
  /** f32 [rows, groups] */
  readonly scale: Weight;
  /** Integer zero points [rows, groups], or one number for all. */
  readonly zero: Weight | number;
  /** Group of each column, i32 [columns]. */
  readonly groups: Weight;
}

/** A weight expression; `dtype` and `shape` are those of its result. */
export type Weight =
  | TensorWeight
  | ConstantWeight
  | StackWeight
  | ConcatWeight
  | SliceWeight
  | TransposeWeight
  | ReshapeWeight
  | CastWeight
  | DequantizeWeight
  | QuantizeWeight
  | ReinterpretWeight
  | ReciprocalWeight
  | ScaledWeight
  | UnpackWeight
  | AffineScalesWeight
  | CheckedWeight
  | GroupedWeight;
