/**
 * Weight expressions for checkpoints of integers: codes in 32-bit words, zero points, groups.
 *
 * @module
 */

import { formatShape } from "./shape.ts";
import { cast, requireWeight } from "./weight.ts";
import type {
  AffineScalesWeight,
  CheckedWeight,
  GroupedWeight,
  IntegerPacking,
  UnpackWeight,
  Weight,
} from "./weight_types.ts";

/**
 * Integer codes [rows, columns] out of the 32-bit words of a checkpoint, `(code + add) & mask`, as i8
 * or u8; with `codesPerByte` 2, two per byte.
 *
 * @example
 * ```ts
 * import { tensor } from "./weight.ts";
 * import { unpack } from "./integer_weight.ts";
 * const words = tensor("qweight", "i32", [8, 96]); // GPTQ: eight rows of the transposed matrix a word
 * const codes = unpack(words, { bits: 4, along: 0, transposed: true }, [96, 64]);
 * console.assert(codes.dtype === "u8" && String(codes.shape) === "96,64");
 * ```
 */
export function unpack(
  of: Weight,
  packing: IntegerPacking,
  [rows, columns]: readonly [number, number],
  { add = 0, mask = 255, codesPerByte = 1, dtype = "u8" }:
    & Partial<Pick<UnpackWeight, "add" | "mask" | "codesPerByte">>
    & { readonly dtype?: "u8" | "i8" } = {},
): UnpackWeight {
  const words = packedWords(packing, rows, columns);
  requireWeight(String(of.shape) === String(words), "unpack", of.shape, formatShape(words));
  const is32 = of.dtype === "i32" || of.dtype === "u32";
  requireWeight(is32, "unpack", of.shape, "32-bit words", of.dtype);
  const shape = [rows, columns / codesPerByte];
  return { kind: "unpack", dtype, shape, packing, add, mask, codesPerByte, of };
}

/** Dimensions of the words that hold a matrix of codes. */
export function packedWords(
  { bits, along, transposed }: IntegerPacking,
  rows: number,
  columns: number,
): [number, number] {
  const shape: [number, number] = transposed ? [columns, rows] : [rows, columns];
  shape[along] = Math.ceil(shape[along] * bits / 32);
  return shape;
}

/** Scales and offsets of an affine format from scales and zero points [rows, blocks]. */
export function affineScales(scale: Weight, zero: Weight, base = 0): AffineScalesWeight {
  const fits = String(scale.shape) === String(zero.shape);
  requireWeight(fits, "pair", zero.shape, formatShape(scale.shape));
  const shape = scale.shape.with(-1, 2 * scale.shape[scale.shape.length - 1]);
  return { kind: "affine_scales", dtype: "f32", shape, scale: cast(scale, "f32"), zero, base };
}

/** `of`, once the integers `against` have been seen to be as expected. */
export function checked(
  of: Weight,
  rest: Pick<CheckedWeight, "against" | "expected" | "message">,
): CheckedWeight {
  return { kind: "checked", dtype: of.dtype, shape: of.shape, of, ...rest };
}

/** Real values of codes whose columns name their groups. */
export function grouped(
  codes: Weight,
  scale: Weight,
  zero: Weight | number,
  groups: Weight,
): GroupedWeight {
  requireWeight(
    groups.shape[0] === codes.shape[1],
    "group",
    groups.shape,
    `${codes.shape[1]} columns`,
  );
  const parts = { codes, scale: cast(scale, "f32"), zero, groups };
  return { kind: "grouped", dtype: "f32", shape: codes.shape, ...parts };
}
