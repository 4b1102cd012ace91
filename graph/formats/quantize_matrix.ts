/**
 * From a matrix to codes and scales of a packed format: the plain definition of what weights become
 * when they are quantized. Faster ways give the same bits.
 *
 * @module
 */

import { E2M1_MAX, E4M3_MAX, encodeE2M1, encodeE4M3, encodeE8M0, roundSmall } from "./codes.ts";
import {
  decodeScale,
  PACKED_LAYOUTS,
  type PackedFormat,
  type PackedMatrix,
  type PackedShape,
  packedShape,
  type ScaleBlock,
} from "./packed.ts";

/** Options of {@linkcode quantizeMatrix}. */
export interface QuantizeOptions {
  /** May be overwritten and returned, where its sizes are right. */
  readonly reuse?: PackedMatrix;
  /**
   * The largest magnitude of the whole matrix, where `values` are some of its rows and codes depend on
   * all of them ({@linkcode dependsOnWhole}).
   */
  readonly amax?: number;
}

/** Whether the codes of a row depend on all rows, because a scale is for the whole matrix. */
export function dependsOnWhole(
  format: PackedFormat,
  rows: number,
  columns: number,
  block?: ScaleBlock,
): boolean {
  const { block: [height, width] } = packedShape(format, rows, columns, block);
  return PACKED_LAYOUTS[format].secondScale ||
    (format.startsWith("fp8") && height >= rows && width >= columns);
}

/**
 * Quantizes a matrix, rounding codes to nearest even. Scale of a block: amax / 448 (fp8), amax / 127
 * (int8), amax / 7 (int4), 2^(⌊log2 amax⌋ - 2) (mxfp4, OCP MX 1.0 section 6.3), E4M3(amax / 6 / s) with
 * s = amax of the matrix / (448 · 6) (nvfp4). A block of zeros has scale 1 (mxfp4 and nvfp4: code 127
 * and 0). Affine formats spread their codes from the smallest to the largest number of a block.
 *
 * @example
 * ```ts
 * import { dequantizeMatrix } from "./packed.ts";
 * import { quantizeMatrix } from "./quantize_matrix.ts";
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
  { reuse, amax }: QuantizeOptions = {},
): PackedMatrix {
  const shape = packedShape(format, rows, columns, block);
  const [scaleRows, scaleColumns] = shape.scale;
  const { payload, scale } = memoryFor(format, shape, reuse);
  const secondScale = format === "nvfp4"
    ? Math.fround((amax ?? absMax(values)) / (E4M3_MAX * E2M1_MAX)) || 1
    : 1;
  const shared = PACKED_LAYOUTS[format].secondScale ? undefined : amax;
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
      else {
        const largest = shared ?? blockAbsMax(values, columns, area);
        scale[at] = encodeScale(format, largest, secondScale);
      }
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

/** Memory for codes, which are 0, and for scales. */
function memoryFor(format: PackedFormat, shape: PackedShape, reuse?: PackedMatrix) {
  const isF32 = PACKED_LAYOUTS[format].scaleDtype === "f32";
  const [bytes, scales] = [shape.payload[0] * shape.payload[1], shape.scale[0] * shape.scale[1]];
  const fits = reuse?.payload.length === bytes && reuse.scale.length === scales &&
    reuse.scale instanceof Float32Array === isF32;
  if (fits) return { payload: reuse.payload.fill(0), scale: reuse.scale };
  return {
    payload: new Uint8Array(bytes),
    scale: isF32 ? new Float32Array(scales) : new Uint8Array(scales),
  };
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
      return Math.fround(amax / LARGEST_CODES[format]) || 1;
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

/** The largest magnitude of some numbers; NaN counts as nothing. */
export function absMax(values: Float32Array, from = 0, to: number = values.length): number {
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
