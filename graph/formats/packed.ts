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
import {
  decodeE8M0,
  E2M1_MAX,
  E2M1_VALUES,
  E4M3_MAX,
  E4M3_VALUES,
  encodeE2M1,
  encodeE4M3,
  encodeE8M0,
  roundSmall,
} from "./codes.ts";

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

/**
 * Quantizes a matrix, rounding codes to nearest even. Scale of a block: amax / 448 (fp8), amax / 127 (int8), amax / 7 (int4), 2^(⌊log2 amax⌋ - 2) (mxfp4, OCP
 * MX 1.0 section 6.3), E4M3(amax / 6 / s) with s = amax of the matrix / (448 · 6) (nvfp4). A block of
 * zeros has scale 1 (mxfp4 and nvfp4: code 127 and 0). Affine formats spread their codes from the
 * smallest to the largest number of a block. `reuse` of the right sizes may be overwritten and returned.
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
  reuse?: PackedMatrix,
): PackedMatrix {
  const shape = packedShape(format, rows, columns, block);
  const [scaleRows, scaleColumns] = shape.scale;
  const { scaleDtype } = PACKED_LAYOUTS[format];
  const [bytes, scales] = [shape.payload[0] * shape.payload[1], scaleRows * scaleColumns];
  const fits = reuse?.payload.length === bytes && reuse.scale.length === scales &&
    reuse.scale instanceof Float32Array === (scaleDtype === "f32");
  const payload = fits ? reuse.payload.fill(0) : new Uint8Array(bytes);
  const scale = fits
    ? reuse.scale
    : scaleDtype === "f32"
    ? new Float32Array(scales)
    : new Uint8Array(scales);
  const secondScale = format === "nvfp4"
    ? Math.fround(absMax(values, 0, values.length) / (E4M3_MAX * E2M1_MAX)) || 1
    : 1;
  const numbers = PACKED_LAYOUTS[format].hasOffsets ? 2 : 1;
  const encode = ENCODERS[format];
  // One object for all blocks: there are millions of them.
  const area: Area = { rowStart: 0, rowEnd: 0, columnStart: 0, columnEnd: 0 };
  for (let i = 0; i < scaleRows; i++) {
    area.rowStart = i * shape.block[0];
    area.rowEnd = Math.min(rows, area.rowStart + shape.block[0]);
    for (let j = 0; j < scaleColumns; j += numbers) {
      area.columnStart = j / numbers * shape.block[1];
      area.columnEnd = Math.min(columns, area.columnStart + shape.block[1]);
      const at = i * scaleColumns + j;
      if (numbers === 2) scale.set(affineScale(format, values, columns, area), at);
      else scale[at] = encodeScale(format, blockAbsMax(values, columns, area), secondScale);
      const step = decodeScale(format, scale[at], secondScale);
      const offset = numbers === 2 ? scale[at + 1] : 0;
      for (let row = area.rowStart; row < area.rowEnd; row++) {
        const start = row * columns;
        encode(values, start + area.columnStart, start + area.columnEnd, step, offset, payload);
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

/** Lowest code and number of steps of a format with offsets. */
const AFFINE_CODES: Readonly<Partial<Record<PackedFormat, readonly [number, number]>>> = {
  int8_affine: [-128, 255],
  int4_affine: [0, 15],
};

/** Scale and offset with which the codes of a block reach from its smallest number to its largest. */
function affineScale(
  format: PackedFormat,
  values: Float32Array,
  columns: number,
  { rowStart, rowEnd, columnStart, columnEnd }: Area,
): [number, number] {
  const [lowest, steps] = AFFINE_CODES[format] ?? [0, 1];
  let [min, max] = [Infinity, -Infinity];
  for (let row = rowStart; row < rowEnd; row++) {
    for (let column = columnStart; column < columnEnd; column++) {
      min = Math.min(min, values[row * columns + column]);
      max = Math.max(max, values[row * columns + column]);
    }
  }
  const scale = Math.fround(max / steps - min / steps) || 1;
  return [scale, Math.fround(min - lowest * scale)];
}

function encodeScale(format: PackedFormat, amax: number, secondScale: number): number {
  switch (format) {
    case "mxfp4":
      return amax === 0 ? 127 : encodeE8M0(Math.floor(Math.log2(amax)) - 2);
    case "nvfp4":
      return encodeE4M3(amax / E2M1_MAX / secondScale);
    default:
      return Math.fround(
        amax / LARGEST_CODES[format],
      ) || 1;
  }
}

/** Largest magnitude of a code, where scales are made from the largest magnitude of a block. */
const LARGEST_CODES = {
  fp8_e4m3: E4M3_MAX,
  fp8_block: E4M3_MAX,
  int8: 127,
  int4: 7,
  int8_affine: 127,
  int4_affine: 15,
};

/** Writes the codes of numbers `from .. to - 1`; a step of 0 stands for numbers that are all 0. */
type Encode = (
  values: Float32Array,
  from: number,
  to: number,
  step: number,
  offset: number,
  payload: Uint8Array,
) => void;

/** Loops of their own for each kind of code: most of the time of a load goes by here. */
const ENCODERS: Readonly<Record<PackedFormat, Encode>> = {
  fp8_e4m3: encodeFp8,
  fp8_block: encodeFp8,
  mxfp4: encodeFp4,
  nvfp4: encodeFp4,
  int8: byteEncoder(-127, 127),
  int8_affine: byteEncoder(-128, 127),
  int4: nibbleEncoder(-8, 8),
  int4_affine: nibbleEncoder(0, 0),
};

function encodeFp8(
  values: Float32Array,
  from: number,
  to: number,
  step: number,
  offset: number,
  payload: Uint8Array,
): void {
  for (let i = from; i < to; i++) {
    payload[i] = encodeE4M3(step === 0 ? 0 : (values[i] - offset) / step);
  }
}

function encodeFp4(
  values: Float32Array,
  from: number,
  to: number,
  step: number,
  offset: number,
  payload: Uint8Array,
): void {
  for (let i = from; i < to; i++) {
    const code = encodeE2M1(step === 0 ? 0 : (values[i] - offset) / step);
    payload[i >> 1] |= code << (4 * (i & 1));
  }
}

function byteEncoder(least: number, most: number): Encode {
  return (values, from, to, step, offset, payload) => {
    for (let i = from; i < to; i++) {
      const code = roundSmall(step === 0 ? 0 : (values[i] - offset) / step);
      payload[i] = code > most ? most : code < least ? least : code;
    }
  };
}

/** Codes from `least` to `least + 15`, stored with `zero` added. */
function nibbleEncoder(least: number, zero: number): Encode {
  const most = least + 15;
  return (values, from, to, step, offset, payload) => {
    for (let i = from; i < to; i++) {
      const code = roundSmall(step === 0 ? 0 : (values[i] - offset) / step);
      const bounded = code > most ? most : code < least ? least : code;
      payload[i >> 1] |= ((bounded + zero) & 15) << (4 * (i & 1));
    }
  };
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

function absMax(values: Float32Array, from: number, to: number): number {
  let result = 0;
  for (let i = from; i < to; i++) {
    const magnitude = Math.abs(values[i]);
    if (magnitude > result) result = magnitude;
  }
  return result;
}

/** A block of a matrix; ends are exclusive. */
interface Area {
  rowStart: number;
  rowEnd: number;
  columnStart: number;
  columnEnd: number;
}

function blockAbsMax(
  values: Float32Array,
  columns: number,
  { rowStart, rowEnd, columnStart, columnEnd }: Area,
): number {
  let result = 0;
  for (let row = rowStart; row < rowEnd; row++) {
    const start = row * columns;
    result = Math.max(result, absMax(values, start + columnStart, start + columnEnd));
  }
  return result;
}
