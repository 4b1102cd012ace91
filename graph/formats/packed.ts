/**
 * Packed weight formats: how a matrix [rows, columns] becomes codes and scales, and back. The graph,
 * the checkpoint reader and the CPU kernels share these; WGSL fragments do the same in registers.
 *
 * | format | codes | scales |
 * |---|---|---|
 * | `fp8_e4m3` | E4M3, one byte each | f32, one for every `block` of rows × columns (default: the matrix) |
 * | `fp8_block` | E4M3, one byte each | f32, one for every block (default 128 × 128), ragged at the edges |
 * | `mxfp4` | E2M1, two per byte, low nibble first | E8M0, one for 32 columns of a row |
 * | `nvfp4` | E2M1, two per byte, low nibble first | E4M3 for 16 columns of a row, times one f32 per matrix |
 * | `int8` | two's complement | f32, one for `block` columns of a row (default 32) |
 * | `int4` | code - 8, two per byte, low nibble first | f32, one for `block` columns of a row (default 32) |
 * | `int8_affine` | two's complement | f32 pairs of scale and offset, one for `block` columns of a row (default 32) |
 * | `int4_affine` | 0 to 15, two per byte, low nibble first | the same |
 *
 * A scale multiplies, an offset is added after it: value = code · scale + offset. Integers with zero
 * points, (code - zero) · scale, have the offset -zero · scale.
 *
 * @module
 */

import { type DType } from "../dtype.ts";
import { GraphError } from "../errors.ts";
import { decodeE8M0, E2M1_VALUES, E4M3_VALUES } from "./codes.ts";

/** The formats with scales. */
export const PACKED_FORMATS = [
  "fp8_e4m3",
  "fp8_block",
  "mxfp4",
  "nvfp4",
  "int8",
  "int4",
  "int8_affine",
  "int4_affine",
] as const;

/** A format with scales. */
export type PackedFormat = (typeof PACKED_FORMATS)[number];

/** All formats of weights, the plain ones first. */
export const WEIGHT_FORMATS = ["f32", "f16", "bf16", ...PACKED_FORMATS] as const;

/** Formats of expert and linear weights; plain element types are formats too. */
export type WeightFormat = (typeof WEIGHT_FORMATS)[number];

/** True for formats with scales. */
export function isPacked(format: WeightFormat): format is PackedFormat {
  return (PACKED_FORMATS as readonly string[]).includes(format);
}

/** Rows and columns that share a scale. */
export type ScaleBlock = readonly [rows: number, columns: number];

/** What a format stores. */
export interface PackedLayout {
  /** Element type of the tensor of codes. */
  readonly payloadDtype: DType;
  /** Codes in a byte: 1 or 2. */
  readonly codesPerByte: 1 | 2;
  /** Element type of the tensor of scales. */
  readonly scaleDtype: DType;
  /** Whether one f32 per matrix multiplies the block scales as well. */
  readonly secondScale: boolean;
  /** Whether every scale is followed by an offset. */
  readonly hasOffsets: boolean;
  /** Block when none is given; 0 stands for the whole matrix. */
  readonly defaultBlock: ScaleBlock;
}

/** Layout of each packed format. */
export const PACKED_LAYOUTS: Readonly<Record<PackedFormat, PackedLayout>> = {
  fp8_e4m3: layout("f8_e4m3", 1, "f32", [0, 0]),
  fp8_block: layout("f8_e4m3", 1, "f32", [128, 128]),
  mxfp4: layout("u8", 2, "u8", [1, 32]),
  nvfp4: { ...layout("u8", 2, "f8_e4m3", [1, 16]), secondScale: true },
  int8: layout("i8", 1, "f32", [1, 32]),
  int4: layout("u8", 2, "f32", [1, 32]),
  int8_affine: { ...layout("i8", 1, "f32", [1, 32]), hasOffsets: true },
  int4_affine: { ...layout("u8", 2, "f32", [1, 32]), hasOffsets: true },
};

function layout(
  payloadDtype: DType,
  codesPerByte: 1 | 2,
  scaleDtype: DType,
  defaultBlock: ScaleBlock,
): PackedLayout {
  return {
    payloadDtype,
    codesPerByte,
    scaleDtype,
    defaultBlock,
    secondScale: false,
    hasOffsets: false,
  };
}

/** Sizes of what a matrix becomes. */
export interface PackedShape {
  /** Rows and columns that share a scale. */
  readonly block: ScaleBlock;
  /** `[rows, bytes of a row]`. */
  readonly payload: readonly [number, number];
  /**
   * `[rows of blocks, columns of blocks]`; the last of each may be partial. With offsets there are two
   * numbers for each block of a row, and twice the columns.
   */
  readonly scale: readonly [number, number];
}

/** Sizes of the codes and scales of a matrix; `block` 0 or absent means the format's default. */
export function packedShape(
  format: PackedFormat,
  rows: number,
  columns: number,
  block: ScaleBlock = PACKED_LAYOUTS[format].defaultBlock,
): PackedShape {
  const { codesPerByte, hasOffsets } = PACKED_LAYOUTS[format];
  const [blockRows, blockColumns] = [block[0] || rows, block[1] || columns];
  if (codesPerByte === 2 && columns % 2 !== 0) {
    throw new GraphError(
      "graph/format-shape",
      `Cannot pack a matrix as "${format}": expected an even number of columns, got ${columns}`,
      { hint: "Choose int8 or fp8_e4m3 for this layer, or exclude it" },
    );
  }
  return {
    block: [blockRows, blockColumns],
    payload: [rows, columns / codesPerByte],
    scale: [
      Math.ceil(rows / blockRows),
      Math.ceil(columns / blockColumns) * (hasOffsets ? 2 : 1),
    ],
  };
}

/** Codes and scales of one matrix, as bytes and numbers. */
export interface PackedMatrix {
  /** Codes, row-major; two per byte have the first in the low nibble. */
  readonly payload: Uint8Array<ArrayBuffer>;
  /** Scale codes: f32 for fp8 and integers, bytes for E8M0 and E4M3 scales. */
  readonly scale: Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
  /** The factor of the whole matrix (nvfp4), else 1. */
  readonly secondScale: number;
}

/** The real values of a packed matrix. */
export function dequantizeMatrix(
  format: PackedFormat,
  packed: PackedMatrix,
  rows: number,
  columns: number,
  block?: ScaleBlock,
): Float32Array<ArrayBuffer> {
  const result = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    dequantizeRow(
      format,
      packed,
      rows,
      columns,
      row,
      result.subarray(row * columns, (row + 1) * columns),
      block,
    );
  }
  return result;
}

/** Real values of one row of a packed matrix, into `out` [columns]. */
export function dequantizeRow(
  format: PackedFormat,
  packed: PackedMatrix,
  rows: number,
  columns: number,
  row: number,
  out: Float32Array,
  block?: ScaleBlock,
): void {
  const shape = packedShape(format, rows, columns, block);
  const scaleRow = Math.floor(row / shape.block[0]) * shape.scale[1];
  const width = shape.block[1];
  const numbers = PACKED_LAYOUTS[format].hasOffsets ? 2 : 1;
  for (let start = 0; start < columns; start += width) {
    const place = scaleRow + start / width * numbers;
    const step = decodeScale(format, packed.scale[place], packed.secondScale);
    const offset = numbers === 2 ? packed.scale[place + 1] : 0;
    const end = Math.min(columns, start + width);
    for (let column = start; column < end; column++) {
      const code = readCode(format, packed.payload, row * columns + column);
      out[column] = decodeValue(format, code) * step + offset;
    }
  }
}

/** Real value of a scale code. */
export function decodeScale(format: PackedFormat, code: number, secondScale: number): number {
  switch (format) {
    case "mxfp4":
      return decodeE8M0(code);
    case "nvfp4":
      return E4M3_VALUES[code] * secondScale;
    default:
      return code;
  }
}

/** Value of a code before its scale. */
export function decodeValue(format: PackedFormat, code: number): number {
  switch (format) {
    case "fp8_e4m3":
    case "fp8_block":
      return E4M3_VALUES[code];
    case "mxfp4":
    case "nvfp4":
      return E2M1_VALUES[code];
    case "int8":
    case "int8_affine":
      return (code << 24) >> 24;
    case "int4":
      return code - 8;
    case "int4_affine":
      return code;
  }
}

function readCode(format: PackedFormat, payload: Uint8Array, at: number): number {
  if (PACKED_LAYOUTS[format].codesPerByte === 1) return payload[at];
  return (payload[at >> 1] >> (4 * (at & 1))) & 15;
}
