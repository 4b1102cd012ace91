/**
 * Blocks of GGUF's quantized types as whole codes with scales and offsets, `code · scale + offset`.
 * Products of scales are rounded to f32 as ggml's own `dequantize_row_*` rounds them
 * (https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c), so the numbers are equal to the bit.
 *
 * @module
 */

/** Where decoded numbers go. */
export interface DecodedBlock {
  /** One for each element. */
  readonly codes: Int8Array;
  /** One for each group of elements. */
  readonly scales: Float32Array;
  /** The same, for types with offsets. */
  readonly offsets: Float32Array;
}

/**
 * Decodes the block of bytes at `at`; its first element is `element`, its first group `group` of
 * what is decoded.
 */
export type BlockDecoder = (
  bytes: Uint8Array,
  at: number,
  out: DecodedBlock,
  element: number,
  group: number,
) => void;

/** Values of f16 numbers by their bits; a table is faster than arithmetic. */
const F16_VALUES = new Float32Array(
  new Float16Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer),
);

function f16(bytes: Uint8Array, at: number): number {
  return F16_VALUES[bytes[at] | (bytes[at + 1] << 8)];
}

/** Q4_0: d, 16 bytes; low nibbles are elements 0 to 15, high ones 16 to 31. Q4_1: d, m, the same. */
export function decodeQ4(withOffset: boolean): BlockDecoder {
  const start = withOffset ? 4 : 2;
  const middle = withOffset ? 0 : 8;
  return (bytes, at, { codes, scales, offsets }, element, group) => {
    scales[group] = f16(bytes, at);
    if (withOffset) offsets[group] = f16(bytes, at + 2);
    for (let j = 0; j < 16; j++) {
      const byte = bytes[at + start + j];
      codes[element + j] = (byte & 15) - middle;
      codes[element + j + 16] = (byte >> 4) - middle;
    }
  };
}

/** Q5_0: d, 32 fifth bits, 16 bytes of nibbles. Q5_1: d, m, the same. */
export function decodeQ5(withOffset: boolean): BlockDecoder {
  const start = withOffset ? 4 : 2;
  const middle = withOffset ? 0 : 16;
  return (bytes, at, { codes, scales, offsets }, element, group) => {
    scales[group] = f16(bytes, at);
    if (withOffset) offsets[group] = f16(bytes, at + 2);
    const high = at + start;
    for (let j = 0; j < 16; j++) {
      const byte = bytes[high + 4 + j];
      const low = (bytes[high + (j >> 3)] >> (j & 7)) & 1;
      const top = (bytes[high + 2 + (j >> 3)] >> (j & 7)) & 1;
      codes[element + j] = ((byte & 15) | (low << 4)) - middle;
      codes[element + j + 16] = ((byte >> 4) | (top << 4)) - middle;
    }
  };
}

/** Q8_0: d, 32 signed bytes. */
export const decodeQ8: BlockDecoder = (bytes, at, { codes, scales }, element, group) => {
  scales[group] = f16(bytes, at);
  for (let j = 0; j < 32; j++) codes[element + j] = bytes[at + 2 + j];
};

/** Six bits of scale and of minimum for each of eight groups, in twelve bytes. */
function scaleAndMinimum(bytes: Uint8Array, at: number, j: number): [number, number] {
  if (j < 4) return [bytes[at + j] & 63, bytes[at + j + 4] & 63];
  return [
    (bytes[at + j + 4] & 15) | ((bytes[at + j - 4] >> 6) << 4),
    (bytes[at + j + 4] >> 4) | ((bytes[at + j] >> 6) << 4),
  ];
}

function readScalesK(bytes: Uint8Array, at: number, out: DecodedBlock, group: number): void {
  const [d, minimum] = [f16(bytes, at), f16(bytes, at + 2)];
  for (let j = 0; j < 8; j++) {
    const [scale, least] = scaleAndMinimum(bytes, at + 4, j);
    out.scales[group + j] = d * scale;
    out.offsets[group + j] = -Math.fround(minimum * least);
  }
}

/** Q4_K: d, dmin, scales, 128 bytes; 32 bytes hold the nibbles of two groups. */
export const decodeQ4K: BlockDecoder = (bytes, at, out, element, group) => {
  readScalesK(bytes, at, out, group);
  const { codes } = out;
  for (let j = 0; j < 4; j++) {
    for (let i = 0; i < 32; i++) {
      const byte = bytes[at + 16 + 32 * j + i];
      codes[element + 64 * j + i] = byte & 15;
      codes[element + 64 * j + 32 + i] = byte >> 4;
    }
  }
};

/** Q5_K: d, dmin, scales, 32 bytes of fifth bits (bit g of each for group g), 128 bytes of nibbles. */
export const decodeQ5K: BlockDecoder = (bytes, at, out, element, group) => {
  readScalesK(bytes, at, out, group);
  const { codes } = out;
  for (let j = 0; j < 4; j++) {
    for (let i = 0; i < 32; i++) {
      const byte = bytes[at + 48 + 32 * j + i];
      const high = bytes[at + 16 + i] >> (2 * j);
      codes[element + 64 * j + i] = (byte & 15) | ((high & 1) << 4);
      codes[element + 64 * j + 32 + i] = (byte >> 4) | ((high & 2) << 3);
    }
  }
};

/** Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales, d. */
export const decodeQ6K: BlockDecoder = (bytes, at, { codes, scales }, element, group) => {
  const d = f16(bytes, at + 208);
  for (let j = 0; j < 16; j++) scales[group + j] = d * ((bytes[at + 192 + j] << 24) >> 24);
  for (let half = 0; half < 2; half++) {
    const [low, high, first] = [at + 64 * half, at + 128 + 32 * half, element + 128 * half];
    for (let i = 0; i < 32; i++) {
      const [a, b, pairs] = [bytes[low + i], bytes[low + 32 + i], bytes[high + i]];
      codes[first + i] = ((a & 15) | ((pairs & 3) << 4)) - 32;
      codes[first + 32 + i] = ((b & 15) | ((pairs & 12) << 2)) - 32;
      codes[first + 64 + i] = ((a >> 4) | (pairs & 48)) - 32;
      codes[first + 96 + i] = ((b >> 4) | ((pairs & 192) >> 2)) - 32;
    }
  }
};

/** The sixteen values of IQ4_NL. */
const IQ4_VALUES = Int8Array.of(
  ...[-127, -104, -83, -65, -49, -35, -22, -10],
  ...[1, 13, 25, 38, 53, 69, 89, 113],
);

/** IQ4_NL: as Q4_0, the nibbles index a table. */
export const decodeIq4Nl: BlockDecoder = (bytes, at, { codes, scales }, element, group) => {
  scales[group] = f16(bytes, at);
  for (let j = 0; j < 16; j++) {
    const byte = bytes[at + 2 + j];
    codes[element + j] = IQ4_VALUES[byte & 15];
    codes[element + j + 16] = IQ4_VALUES[byte >> 4];
  }
};

/** E2M1 numbers times two. */
const E2M1_DOUBLED = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** MXFP4: an E8M0 exponent, nibbles as in Q4_0. */
export const decodeMxfp4: BlockDecoder = (bytes, at, { codes, scales }, element, group) => {
  scales[group] = bytes[at] === 255 ? NaN : 2 ** (bytes[at] - 128);
  for (let j = 0; j < 16; j++) {
    const byte = bytes[at + 1 + j];
    codes[element + j] = E2M1_DOUBLED[byte & 15];
    codes[element + j + 16] = E2M1_DOUBLED[byte >> 4];
  }
};
