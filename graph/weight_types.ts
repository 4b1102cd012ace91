/**
 * The kinds of weight expressions. `weight.ts` makes them, `models/loading/weight_reader.ts` evaluates them.
 *
 * @module
 */

import type { DType } from "./dtype.ts";
import type { WeightFormat } from "./formats/packed.ts";

/** What every weight has: the type and the sizes of what it gives. */
export interface Typed {
  /** Element type of the result. */
  readonly dtype: DType;
  /** Sizes of the result, outermost first. */
  readonly shape: readonly number[];
}

/** A tensor that the checkpoint holds, by its name there. */
export interface TensorWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "tensor";
  /** Name in the checkpoint. */
  readonly name: string;
}

/** Values that come with the program: a scalar, RoPE frequencies. */
export interface ConstantWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "constant";
  /** Elements, row-major. */
  readonly data: Float32Array | Int32Array;
}

/** Parts along a new first dimension. */
export interface StackWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "stack";
  /** All of one type and shape. */
  readonly parts: readonly Weight[];
}

/** Parts one after the other along an existing dimension. */
export interface ConcatWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "concat";
  /** Dimension along which parts follow each other. */
  readonly dim: number;
  /** Equal in all other dimensions. */
  readonly parts: readonly Weight[];
}

/** `of[..., start:end:step, ...]` along one dimension. */
export interface SliceWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "slice";
  /** Dimension that is cut. */
  readonly dim: number;
  /** First index taken. */
  readonly start: number;
  /** First index not taken. */
  readonly end: number;
  /** Distance of indices taken, 1 or more. */
  readonly step: number;
  /** What is cut. */
  readonly of: Weight;
}

/** Two dimensions exchanged. */
export interface TransposeWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "transpose";
  /** Dimensions that change places. */
  readonly dims: readonly [number, number];
  /** What is transposed. */
  readonly of: Weight;
}

/** Same elements, other dimensions. */
export interface ReshapeWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "reshape";
  /** What gets other dimensions. */
  readonly of: Weight;
}

/** Conversion between plain element types, rounding to nearest even. */
export interface CastWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "cast";
  /** What is converted. */
  readonly of: Weight;
}

/** Real values of a packed weight. */
export interface DequantizeWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "dequantize";
  /** How payload and scales read. */
  readonly format: WeightFormat;
  /** Codes `[.., rows, bytes of a row]`. */
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
  /** Which expression it is. */
  readonly kind: "quantize";
  /** What it becomes. */
  readonly format: WeightFormat;
  /** Which of the format's tensors this is. */
  readonly component: "payload" | "scale" | "scale_2";
  /** Elements `[rows, columns]` that share a scale; undefined for the format's default. */
  readonly block: readonly [number, number] | undefined;
  /** The plain matrices. */
  readonly of: Weight;
}

/** Other type and dimensions for the same bytes. */
export interface ReinterpretWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "reinterpret";
  /** What is read anew. */
  readonly of: Weight;
}

/** 1 / x of every element, f32. */
export interface ReciprocalWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "reciprocal";
  /** x */
  readonly of: Weight;
}

/** Every element times a number, f32. */
export interface ScaledWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "scaled";
  /** What is multiplied. */
  readonly of: Weight;
  /** What it is multiplied by. */
  readonly factor: number;
}

/** Every element plus a number, f32. */
export interface ShiftedWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "shifted";
  /** What is added to. */
  readonly of: Weight;
  /** What is added. */
  readonly by: number;
}

/** How the codes of a matrix are stored in the 32-bit words of a checkpoint. */
export interface IntegerPacking {
  /** Bits of a code. */
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
  /** Which expression it is. */
  readonly kind: "unpack";
  /** Where the codes of a word are. */
  readonly packing: IntegerPacking;
  /** Added to every code. */
  readonly add: number;
  /** Bits of the result. */
  readonly mask: 15 | 255;
  /** Codes in a byte of the result. */
  readonly codesPerByte: 1 | 2;
  /** The 32-bit words. */
  readonly of: Weight;
}

/** Pairs (scale, (base - zero) · scale) [rows, 2 · blocks] of an affine format; f32. */
export interface AffineScalesWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "affine_scales";
  /** [rows, blocks] */
  readonly scale: Weight;
  /** Integer zero points [rows, blocks]. */
  readonly zero: Weight;
  /** What zero points are subtracted from. */
  readonly base: number;
}

/** A weight whose reading assumes that some integers beside it have the expected values. */
export interface CheckedWeight extends Typed {
  /** Which expression it is. */
  readonly kind: "checked";
  /** The weight itself. */
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
  /** Which expression it is. */
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
  | ShiftedWeight
  | UnpackWeight
  | AffineScalesWeight
  | CheckedWeight
  | GroupedWeight;
