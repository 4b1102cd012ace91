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
 *
 * A scale multiplies: value = code · scale.
 *
 * @module
 */

import { type DType } from "../dtype.ts";
import { GraphError } from "../errors.ts";
import {
  decodeE8M0,
  E2M1_MAX,
  E2M1_VALUES,
  E4M3_MAX,
  E4M3_VALUES,
  encodeE2M1,
  encodeE4M3,
  encodeE8M0,
  roundHalfEven,
} from "./codes.ts";

/** The formats with scales. */
export const PACKED_FORMATS = ["fp8_e4m3", "fp8_block", "mxfp4", "nvfp4", "int8", "int4"] as const;

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
  readonly payloadDtype: DType;
  /** Codes in a byte: 1 or 2. */
  readonly codesPerByte: 1 | 2;
  readonly scaleDtype: DType;
  /** Whether one f32 per matrix multiplies the block scales as well. */
  readonly secondScale: boolean;
  /** The block when none is given; 0 stands for the whole matrix. */
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
};

function layout(
  payloadDtype: DType,
  codesPerByte: 1 | 2,
  scaleDtype: DType,
  defaultBlock: ScaleBlock,
): PackedLayout {
  return { payloadDtype, codesPerByte, scaleDtype, defaultBlock, secondScale: false };
}

/** Sizes of what a matrix becomes. */
export interface PackedShape {
  readonly block: ScaleBlock;
  /** `[rows, bytes of a row]`. */
  readonly payload: readonly [number, number];
  /** `[rows of blocks, columns of blocks]`; the last of each may be partial. */
  readonly scale: readonly [number, number];
}

/** Sizes of the codes and scales of a matrix; `block` 0 or absent means the format's default. */
export function packedShape(
  format: PackedFormat,
  rows: number,
  columns: number,
  block: ScaleBlock = PACKED_LAYOUTS[format].defaultBlock,
): PackedShape {
  const { codesPerByte } = PACKED_LAYOUTS[format];
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
    scale: [Math.ceil(rows / blockRows), Math.ceil(columns / blockColumns)],
  };
}

/** Codes and scales of one matrix, as bytes and numbers. */
export interface PackedMatrix {
  readonly payload: Uint8Array<ArrayBuffer>;
  /** Scale codes: f32 for fp8 and integers, bytes for E8M0 and E4M3 scales. */
  readonly scale: Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
  /** The factor of the whole matrix (nvfp4), else 1. */
  readonly secondScale: number;
}

/**
 * Quantizes a matrix, rounding codes to nearest even.
 *
 * Scale of a block: amax / 448 (fp8), amax / 127 (int8), amax / 7 (int4), 2^(⌊log2 amax⌋ - 2) (mxfp4, OCP
 * MX 1.0 section 6.3), E4M3(amax / 6 / s) with s = amax of the matrix / (448 · 6) (nvfp4). A block of
 * zeros has scale 1 (mxfp4 and nvfp4: code 127 and 0).
 *
 * @example
 * ```ts
 * import { dequantizeMatrix, quantizeMatrix } from "./packed.ts";
 * const packed = quantizeMatrix("int8", Float32Array.of(1, -2, 3, 127), 1, 4);
 * console.assert(String(dequantizeMatrix("int8", packed, 1, 4)) === "1,-2,3,127");
 * ```
 */
export function quantizeMatrix(
  format: PackedFormat,
  values: Float32Array,
  rows: number,
  columns: number,
  block?: ScaleBlock,
): PackedMatrix {
  const shape = packedShape(format, rows, columns, block);
  const [scaleRows, scaleColumns] = shape.scale;
  const { scaleDtype } = PACKED_LAYOUTS[format];
  const payload = new Uint8Array(shape.payload[0] * shape.payload[1]);
  const scale = scaleDtype === "f32"
    ? new Float32Array(scaleRows * scaleColumns)
    : new Uint8Array(scaleRows * scaleColumns);
  const secondScale = format === "nvfp4"
    ? Math.fround(absMax(values) / (E4M3_MAX * E2M1_MAX)) || 1
    : 1;
  for (let i = 0; i < scaleRows; i++) {
    for (let j = 0; j < scaleColumns; j++) {
      const rowEnd = Math.min(rows, (i + 1) * shape.block[0]);
      const columnEnd = Math.min(columns, (j + 1) * shape.block[1]);
      const amax = blockAbsMax(
        values,
        columns,
        i * shape.block[0],
        rowEnd,
        j * shape.block[1],
        columnEnd,
      );
      const code = encodeScale(format, amax, secondScale);
      scale[i * scaleColumns + j] = code;
      const step = decodeScale(format, code, secondScale);
      for (let row = i * shape.block[0]; row < rowEnd; row++) {
        for (let column = j * shape.block[1]; column < columnEnd; column++) {
          const at = row * columns + column;
          writeCode(format, payload, at, encodeValue(format, step === 0 ? 0 : values[at] / step));
        }
      }
    }
  }
  return { payload, scale, secondScale };
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
  for (let start = 0; start < columns; start += width) {
    const code = packed.scale[scaleRow + start / width];
    const step = decodeScale(format, code, packed.secondScale);
    const end = Math.min(columns, start + width);
    for (let column = start; column < end; column++) {
      out[column] = decodeValue(format, readCode(format, packed.payload, row * columns + column)) *
        step;
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

function encodeScale(format: PackedFormat, amax: number, secondScale: number): number {
  switch (format) {
    case "mxfp4":
      return amax === 0 ? 127 : encodeE8M0(Math.floor(Math.log2(amax)) - 2);
    case "nvfp4":
      return encodeE4M3(amax / E2M1_MAX / secondScale);
    default:
      return Math.fround(
        amax / { fp8_e4m3: E4M3_MAX, fp8_block: E4M3_MAX, int8: 127, int4: 7 }[format],
      ) || 1;
  }
}

/** Code of a value already divided by its scale. */
function encodeValue(format: PackedFormat, scaled: number): number {
  switch (format) {
    case "fp8_e4m3":
    case "fp8_block":
      return encodeE4M3(scaled);
    case "mxfp4":
    case "nvfp4":
      return encodeE2M1(scaled);
    case "int8":
      return Math.max(-127, Math.min(127, roundHalfEven(scaled)));
    case "int4":
      return Math.max(-8, Math.min(7, roundHalfEven(scaled))) + 8;
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
      return (code << 24) >> 24;
    case "int4":
      return code - 8;
  }
}

function readCode(format: PackedFormat, payload: Uint8Array, at: number): number {
  if (PACKED_LAYOUTS[format].codesPerByte === 1) return payload[at];
  return (payload[at >> 1] >> (4 * (at & 1))) & 15;
}

function writeCode(format: PackedFormat, payload: Uint8Array, at: number, code: number): void {
  if (PACKED_LAYOUTS[format].codesPerByte === 1) payload[at] = code;
  else payload[at >> 1] |= (code & 15) << (4 * (at & 1));
}

function absMax(values: Float32Array): number {
  let result = 0;
  for (const value of values) if (Math.abs(value) > result) result = Math.abs(value);
  return result;
}

function blockAbsMax(
  values: Float32Array,
  columns: number,
  rowStart: number,
  rowEnd: number,
  columnStart: number,
  columnEnd: number,
): number {
  let result = 0;
  for (let row = rowStart; row < rowEnd; row++) {
    result = Math.max(
      result,
      absMax(values.subarray(row * columns + columnStart, row * columns + columnEnd)),
    );
  }
  return result;
}
