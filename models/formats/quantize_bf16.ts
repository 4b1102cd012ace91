/**
 * Quantizing bf16 matrices as fast as a thread can: the same codes and scales, bit for bit, as
 * `quantizeMatrix` makes of the same numbers in f32. Most of the time of a load goes by here.
 *
 * Elements are read two at a time, and magnitudes are compared as integers. A number has 8 significant
 * bits, and that is what makes shortcuts exact: whether x / step is halfway between two codes is known
 * from the step alone, and what becomes of each of the 32768 magnitudes can be looked up.
 *
 * @module
 */

import {
  encodeE2M1,
  encodeE4M3,
  type PackedFormat,
  type PackedMatrix,
  packedShape,
  quantizeMatrix,
  type QuantizeOptions,
  roundSmall,
  type ScaleBlock,
} from "../../graph/mod.ts";

/** The bits of the magnitude of an element; from `INFINITE` on they are infinity and NaN. */
const MAGNITUDE = 0x7fff;
const INFINITE = 0x7f80;

/** Magnitudes from 2^-100 on: their steps are neither subnormal nor near it. */
const SMALLEST_FAST = 27 << 7;

/** The numbers that all codes of bf16 stand for, and the words whose upper halves are the codes. */
const VALUES = new Float32Array(2 ** 16);
const WORDS = new Uint32Array(VALUES.buffer);
for (let code = 0; code < WORDS.length; code++) WORDS[code] = code << 16;

/** A number and its bits. */
const NUMBER = new Float32Array(1);
const BITS = new Uint32Array(NUMBER.buffer);

/** Rows of a matrix in bf16: pairs of elements, the first of each in the low half of its word. */
export interface Bf16Rows {
  readonly pairs: Uint32Array<ArrayBuffer>;
  readonly rows: number;
  /** An even number. */
  readonly columns: number;
}

/** The largest magnitude of some elements. Infinity and NaN are larger than all numbers. */
export function largestOfPairs(pairs: Uint32Array): number {
  return VALUES[largestBits(pairs, 0, pairs.length)];
}

/** Bits of the largest magnitude. No branches: which element is larger cannot be predicted. */
function largestBits(pairs: Uint32Array, from: number, to: number): number {
  let [most, other] = [0, 0];
  for (let i = from; i < to; i++) {
    const pair = pairs[i];
    const more = (pair & MAGNITUDE) - most;
    most += more & ~(more >> 31);
    const otherMore = (pair >>> 16 & MAGNITUDE) - other;
    other += otherMore & ~(otherMore >> 31);
  }
  return Math.max(most, other);
}

/**
 * Quantizes rows of bf16; undefined where there is no fast way, as for infinite numbers. Block and
 * options are those of `quantizeMatrix`.
 *
 * @example
 * ```ts
 * import { quantizeBf16 } from "./quantize_bf16.ts";
 * const pairs = Uint32Array.of(0xc0003f80); // 1, -2
 * const packed = quantizeBf16("int8", { pairs, rows: 1, columns: 2 });
 * console.assert(String(packed?.payload) === "64,129"); // 63.5 to even, -127
 * ```
 */
export function quantizeBf16(
  format: PackedFormat,
  matrix: Bf16Rows,
  block?: ScaleBlock,
  { reuse, amax }: QuantizeOptions = {},
): PackedMatrix | undefined {
  const encode = ENCODERS[format];
  const { rows, columns } = matrix;
  const shape = packedShape(format, rows, columns, block);
  const [scaleRows, scaleColumns] = shape.scale;
  const width = Math.min(columns, shape.block[1]);
  if (!encode || columns % 2 !== 0 || width % 2 !== 0) return undefined;
  if (
    format === "fp8_e4m3"
      ? amax === undefined || scaleRows * scaleColumns > 1
      : shape.block[0] !== 1
  ) {
    return undefined;
  }
  const bytes = shape.payload[0] * shape.payload[1];
  const payload = reuse?.payload.length === bytes ? reuse.payload : new Uint8Array(bytes);
  const scale = scalesOf(format, scaleRows * scaleColumns, reuse?.scale);
  const blocks = { pairs: matrix.pairs, columns: columns / 2, width: width / 2 };
  return encode(blocks, payload, scale, amax ?? 0) ? { payload, scale, secondScale: 1 } : undefined;
}

function scalesOf(format: PackedFormat, count: number, reuse?: PackedMatrix["scale"]) {
  const isFit = reuse?.length === count && reuse instanceof Uint8Array === (format === "mxfp4");
  return isFit ? reuse : format === "mxfp4" ? new Uint8Array(count) : new Float32Array(count);
}

/** Rows of blocks, whose sizes are in pairs; the last block of a row may have fewer columns. */
interface Blocks {
  readonly pairs: Uint32Array;
  readonly columns: number;
  readonly width: number;
}

/** Writes codes and scales; false when there are numbers that it is not for. */
type Encode = (
  blocks: Blocks,
  payload: Uint8Array,
  scale: PackedMatrix["scale"],
  amax: number,
) => boolean;

const ENCODERS: Readonly<Partial<Record<PackedFormat, Encode>>> = {
  int8: encodeInt8,
  int4: encodeInt4,
  mxfp4: encodeMxfp4,
  fp8_e4m3: encodeFp8,
};

/**
 * Whether x · (1 / step), rounded in whatever way at halves, gives the code of every x of a block. It
 * does where none is halfway: 2 x = odd · step would need more than 8 bits in x, as a step that is not
 * a bf16 number has more. The nearest others are 2^-25 away, and the product is off by 2^-44 at most.
 */
function hasNoHalves(most: number, step: number): boolean {
  NUMBER[0] = step;
  return most >= SMALLEST_FAST && (BITS[0] & 0xffff) !== 0;
}

function encodeInt8(
  { pairs, columns, width }: Blocks,
  payload: Uint8Array,
  scale: PackedMatrix["scale"],
): boolean {
  let block = 0;
  for (let row = 0; row < pairs.length; row += columns) {
    for (let from = row; from < row + columns; from += width) {
      const to = Math.min(from + width, row + columns);
      const most = largestBits(pairs, from, to);
      if (most >= INFINITE) return false;
      const step = Math.fround(VALUES[most] / 127) || 1;
      scale[block++] = step;
      if (hasNoHalves(most, step)) {
        const inverse = 1 / step;
        for (let i = from; i < to; i++) {
          const pair = pairs[i];
          payload[2 * i] = ((VALUES[pair & 0xffff] * inverse + 128.5) | 0) - 128;
          payload[2 * i + 1] = ((VALUES[pair >>> 16] * inverse + 128.5) | 0) - 128;
        }
        continue;
      }
      for (let i = from; i < to; i++) {
        payload[2 * i] = codeOf(VALUES[pairs[i] & 0xffff] / step, -127, 127);
        payload[2 * i + 1] = codeOf(VALUES[pairs[i] >>> 16] / step, -127, 127);
      }
    }
  }
  return true;
}

function encodeInt4(
  { pairs, columns, width }: Blocks,
  payload: Uint8Array,
  scale: PackedMatrix["scale"],
): boolean {
  let block = 0;
  for (let row = 0; row < pairs.length; row += columns) {
    for (let from = row; from < row + columns; from += width) {
      const to = Math.min(from + width, row + columns);
      const most = largestBits(pairs, from, to);
      if (most >= INFINITE) return false;
      const step = Math.fround(VALUES[most] / 7) || 1;
      scale[block++] = step;
      if (hasNoHalves(most, step)) {
        const inverse = 1 / step;
        for (let i = from; i < to; i++) {
          const pair = pairs[i];
          const low = (VALUES[pair & 0xffff] * inverse + 8.5) | 0;
          payload[i] = low | ((VALUES[pair >>> 16] * inverse + 8.5) | 0) << 4;
        }
        continue;
      }
      for (let i = from; i < to; i++) {
        const low = codeOf(VALUES[pairs[i] & 0xffff] / step, -8, 7) + 8;
        payload[i] = low | (codeOf(VALUES[pairs[i] >>> 16] / step, -8, 7) + 8) << 4;
      }
    }
  }
  return true;
}

/** The nearest integer of a range, halves to even. */
function codeOf(value: number, least: number, most: number): number {
  const code = roundSmall(value);
  return code > most ? most : code < least ? least : code;
}

/**
 * Steps are powers of two, so a code is found by how far a magnitude is from the step, as bits: 6
 * exponents with 128 magnitudes each, from an eighth of the step on. What is below becomes 0.
 */
const MXFP4_CODES = Uint8Array.from(
  { length: 6 * 128 },
  (_, at) => encodeE2M1((1 + (at & 127) / 128) * 2 ** ((at >> 7) - 3)),
);

function encodeMxfp4(
  { pairs, columns, width }: Blocks,
  payload: Uint8Array,
  scale: PackedMatrix["scale"],
): boolean {
  let block = 0;
  for (let row = 0; row < pairs.length; row += columns) {
    for (let from = row; from < row + columns; from += width) {
      const to = Math.min(from + width, row + columns);
      const most = largestBits(pairs, from, to);
      const exponent = most >> 7;
      if (most >= INFINITE || (most > 0 && exponent < 6)) return false;
      scale[block++] = most === 0 ? 127 : exponent - 2;
      const base = Math.max(0, exponent - 5) << 7;
      for (let i = from; i < to; i++) {
        const pair = pairs[i];
        const low = (pair & MAGNITUDE) - base;
        const high = (pair >>> 16 & MAGNITUDE) - base;
        payload[i] = (low > 0 ? MXFP4_CODES[low] : 0) | (pair >>> 12 & 8) |
          (high > 0 ? MXFP4_CODES[high] << 4 : 0) | (pair >>> 24 & 0x80);
      }
    }
  }
  return true;
}

/** Codes of all magnitudes up to `amax`. */
let fp8Codes: { readonly amax: number; readonly codes: Uint8Array } | undefined;

function encodeFp8(
  { pairs }: Blocks,
  payload: Uint8Array,
  scale: PackedMatrix["scale"],
  amax: number,
): boolean {
  if (!(amax < Infinity)) return false;
  [scale[0]] = quantizeMatrix("fp8_e4m3", Float32Array.of(amax), 1, 1).scale;
  if (fp8Codes?.amax !== amax) fp8Codes = { amax, codes: makeFp8Codes(amax, scale[0]) };
  const { codes } = fp8Codes;
  for (let i = 0; i < pairs.length; i++) {
    const pair = pairs[i];
    payload[2 * i] = codes[pair & MAGNITUDE] | (pair >>> 8 & 0x80);
    payload[2 * i + 1] = codes[pair >>> 16 & MAGNITUDE] | (pair >>> 24 & 0x80);
  }
  return true;
}

function makeFp8Codes(amax: number, step: number): Uint8Array {
  const codes = fp8Codes?.codes ?? new Uint8Array(INFINITE);
  NUMBER[0] = amax;
  const most = BITS[0] >>> 16;
  for (let bits = 0; bits <= most; bits++) codes[bits] = encodeE4M3(VALUES[bits] / step);
  return codes;
}
