/**
 * Blocks of GGUF's quantized types as whole codes with scales and offsets, `code · scale + offset`.
 * Products of scales are rounded to f32 as ggml's own `dequantize_row_*` rounds them
 * (https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c), so the numbers are equal to the bit.
 *
 * @module
 */

/** How the blocks of a type read; `at` is the first byte of one. */
export interface BlockLayout {
  /** Codes of its elements, from place `element` on. */
  codes(bytes: Uint8Array, at: number, codes: Int8Array, element: number): void;
  /** Scales of its groups, and their offsets where the type has any, from place `group` on. */
  scales(
    bytes: Uint8Array,
    at: number,
    scales: Float32Array,
    offsets: Float32Array,
    group: number,
  ): void;
  /** The same codes, two per byte, for types whose bits are those of a kernel's format. */
  nibbles?(bytes: Uint8Array, at: number, out: Uint8Array, place: number): void;
}

/** Values of f16 numbers by their bits; a table is faster than arithmetic. */
const F16_VALUES = new Float32Array(
  new Float16Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer),
);

function f16(bytes: Uint8Array, at: number): number {
  return F16_VALUES[bytes[at] | (bytes[at + 1] << 8)];
}

/** `count` bytes whose low nibbles are elements in order, and the high ones those that follow. */
function pairNibbles(
  bytes: Uint8Array,
  at: number,
  count: number,
  out: Uint8Array,
  place: number,
): void {
  const half = count >> 1;
  for (let i = 0; i < half; i++) {
    const a = bytes[at + 2 * i];
    const b = bytes[at + 2 * i + 1];
    out[place + i] = (a & 15) | ((b & 15) << 4);
    out[place + half + i] = (a >> 4) | (b & 240);
  }
}

/** A scale in front, and an offset after it. */
function oneScale(withOffset: boolean): BlockLayout["scales"] {
  return (bytes, at, scales, offsets, group) => {
    scales[group] = f16(bytes, at);
    if (withOffset) offsets[group] = f16(bytes, at + 2);
  };
}

/** Q4_0: d, 16 bytes; low nibbles are elements 0 to 15, high ones 16 to 31. Q4_1: d, m, the same. */
function q4(withOffset: boolean): BlockLayout {
  const start = withOffset ? 4 : 2;
  const middle = withOffset ? 0 : 8;
  return {
    codes(bytes, at, codes, element) {
      for (let j = 0; j < 16; j++) {
        const byte = bytes[at + start + j];
        codes[element + j] = (byte & 15) - middle;
        codes[element + j + 16] = (byte >> 4) - middle;
      }
    },
    scales: oneScale(withOffset),
    nibbles: (bytes, at, out, place) => pairNibbles(bytes, at + start, 16, out, place),
  };
}

/** Q5_0: d, 32 fifth bits, 16 bytes of nibbles. Q5_1: d, m, the same. */
function q5(withOffset: boolean): BlockLayout {
  const start = withOffset ? 4 : 2;
  const middle = withOffset ? 0 : 16;
  return {
    codes(bytes, at, codes, element) {
      const high = at + start;
      for (let j = 0; j < 16; j++) {
        const byte = bytes[high + 4 + j];
        const low = (bytes[high + (j >> 3)] >> (j & 7)) & 1;
        const top = (bytes[high + 2 + (j >> 3)] >> (j & 7)) & 1;
        codes[element + j] = ((byte & 15) | (low << 4)) - middle;
        codes[element + j + 16] = ((byte >> 4) | (top << 4)) - middle;
      }
    },
    scales: oneScale(withOffset),
  };
}

/** Q8_0: d, 32 signed bytes. */
const q8: BlockLayout = {
  codes(bytes, at, codes, element) {
    for (let j = 0; j < 32; j++) codes[element + j] = bytes[at + 2 + j];
  },
  scales: oneScale(false),
};

/** d, dmin, and six bits of scale and of minimum for each of eight groups, in twelve bytes. */
const scalesK: BlockLayout["scales"] = (bytes, at, scales, offsets, group) => {
  const d = f16(bytes, at);
  const minimum = f16(bytes, at + 2);
  for (let j = 0; j < 4; j++) {
    const a = bytes[at + 4 + j];
    const b = bytes[at + 8 + j];
    const c = bytes[at + 12 + j];
    scales[group + j] = d * (a & 63);
    offsets[group + j] = -Math.fround(minimum * (b & 63));
    scales[group + j + 4] = d * ((c & 15) | ((a >> 6) << 4));
    offsets[group + j + 4] = -Math.fround(minimum * ((c >> 4) | ((b >> 6) << 4)));
  }
};

/** Q4_K: d, dmin, scales, 128 bytes; 32 bytes hold the nibbles of two groups. */
const q4k: BlockLayout = {
  codes(bytes, at, codes, element) {
    for (let j = 0; j < 4; j++) {
      for (let i = 0; i < 32; i++) {
        const byte = bytes[at + 16 + 32 * j + i];
        codes[element + 64 * j + i] = byte & 15;
        codes[element + 64 * j + 32 + i] = byte >> 4;
      }
    }
  },
  scales: scalesK,
  nibbles(bytes, at, out, place) {
    for (let j = 0; j < 4; j++) pairNibbles(bytes, at + 16 + 32 * j, 32, out, place + 32 * j);
  },
};

/** Q5_K: d, dmin, scales, 32 bytes of fifth bits (bit g of each for group g), 128 bytes of nibbles. */
const q5k: BlockLayout = {
  codes(bytes, at, codes, element) {
    for (let j = 0; j < 4; j++) {
      for (let i = 0; i < 32; i++) {
        const byte = bytes[at + 48 + 32 * j + i];
        const high = bytes[at + 16 + i] >> (2 * j);
        codes[element + 64 * j + i] = (byte & 15) | ((high & 1) << 4);
        codes[element + 64 * j + 32 + i] = (byte >> 4) | ((high & 2) << 3);
      }
    }
  },
  scales: scalesK,
};

/** Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales, d. */
const q6k: BlockLayout = {
  codes(bytes, at, codes, element) {
    for (let half = 0; half < 2; half++) {
      const low = at + 64 * half;
      const high = at + 128 + 32 * half;
      const first = element + 128 * half;
      for (let i = 0; i < 32; i++) {
        const a = bytes[low + i];
        const b = bytes[low + 32 + i];
        const pairs = bytes[high + i];
        codes[first + i] = ((a & 15) | ((pairs & 3) << 4)) - 32;
        codes[first + 32 + i] = ((b & 15) | ((pairs & 12) << 2)) - 32;
        codes[first + 64 + i] = ((a >> 4) | (pairs & 48)) - 32;
        codes[first + 96 + i] = ((b >> 4) | ((pairs & 192) >> 2)) - 32;
      }
    }
  },
  scales(bytes, at, scales, _offsets, group) {
    const d = f16(bytes, at + 208);
    for (let j = 0; j < 16; j++) scales[group + j] = d * ((bytes[at + 192 + j] << 24) >> 24);
  },
};

/** Nibbles that index a table of sixteen values, from byte `start` of a block on. */
function tableCodes(start: number, table: Int8Array): BlockLayout["codes"] {
  return (bytes, at, codes, element) => {
    for (let j = 0; j < 16; j++) {
      const byte = bytes[at + start + j];
      codes[element + j] = table[byte & 15];
      codes[element + j + 16] = table[byte >> 4];
    }
  };
}

/** The sixteen values of IQ4_NL. */
const IQ4_VALUES = Int8Array.of(
  ...[-127, -104, -83, -65, -49, -35, -22, -10],
  ...[1, 13, 25, 38, 53, 69, 89, 113],
);

/** E2M1 numbers times two. */
const E2M1_DOUBLED = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** MXFP4: an E8M0 exponent, then nibbles of E2M1. */
const mxfp4: BlockLayout = {
  codes: tableCodes(1, E2M1_DOUBLED),
  scales(bytes, at, scales, _offsets, group) {
    scales[group] = bytes[at] === 255 ? NaN : 2 ** (bytes[at] - 128);
  },
  nibbles: (bytes, at, out, place) => pairNibbles(bytes, at + 1, 16, out, place),
};

/** Layouts by the names of their types. */
export const BLOCK_LAYOUTS = {
  Q4_0: q4(false),
  Q4_1: q4(true),
  Q5_0: q5(false),
  Q5_1: q5(true),
  Q8_0: q8,
  Q4_K: q4k,
  Q5_K: q5k,
  Q6_K: q6k,
  IQ4_NL: { codes: tableCodes(2, IQ4_VALUES), scales: oneScale(false) },
  MXFP4: mxfp4,
} as const;
