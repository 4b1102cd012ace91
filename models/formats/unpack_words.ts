/**
 * Integer codes out of the 32-bit words of a checkpoint. The packings that checkpoints have take whole
 * words at a time; all others go code by code.
 *
 * @module
 */

import type { UnpackWeight } from "../../graph/mod.ts";

type Bytes = Uint8Array<ArrayBuffer>;
type Unpacking = Pick<UnpackWeight, "packing" | "add" | "mask" | "codesPerByte">;

/** A matrix of codes; `wordsWide` words stand in a row of the file. */
export interface CodeMatrix {
  readonly rows: number;
  readonly columns: number;
  readonly wordsWide: number;
}

/** Payload of a matrix: (code + add) & mask of every code, one or two a byte. */
export function unpackWords(words: Uint32Array, how: Unpacking, matrix: CodeMatrix): Bytes {
  const { bits, along, transposed, order } = how.packing;
  const count = 32 / bits;
  // Words keep their bits where a payload's word holds the same codes in the same order.
  const keepsWords = how.codesPerByte * bits === 8 && matrix.columns % count === 0 &&
    flipOf(how) !== undefined;
  if (keepsWords && order === undefined) {
    if (along === 1 && !transposed) return flipped(words.slice(), how);
    if (along === 0 && transposed) return flipped(turnedWords(words, matrix, count), how);
  }
  if (keepsWords && along === 1 && transposed && bits === 4 && matrix.rows % 8 === 0) {
    return flipped(turnedNibbles(words, matrix, order), how);
  }
  const codes = eachCode(words, how, matrix);
  return how.codesPerByte === 1 ? codes : joinNibbles(codes);
}

/** What XOR does the same as adding to each code; undefined where none does. */
function flipOf({ packing: { bits }, add }: Unpacking): number | undefined {
  if (add === 0) return 0;
  return bits === 8 && add === -128 ? 0x80808080 : undefined;
}

function flipped(words: Uint32Array<ArrayBuffer>, how: Unpacking): Bytes {
  const flip = flipOf(how) ?? 0;
  for (let i = 0; flip !== 0 && i < words.length; i++) words[i] ^= flip;
  return new Uint8Array(words.buffer);
}

const ROWS_AT_ONCE = 16;

/** Words [columns / count, rows] as rows of words. */
function turnedWords(words: Uint32Array, { rows, columns }: CodeMatrix, count: number) {
  const wide = columns / count;
  const result = new Uint32Array(rows * wide);
  // Some rows at a time, so that the lines of memory they are written to stay near.
  for (let first = 0; first < rows; first += ROWS_AT_ONCE) {
    const end = Math.min(rows, first + ROWS_AT_ONCE);
    for (let line = 0; line < wide; line++) {
      for (let row = first; row < end; row++) {
        result[row * wide + line] = words[line * rows + row];
      }
    }
  }
  return result;
}

/** Words [columns, rows / 8] of nibbles of eight rows as rows of words of eight columns. */
function turnedNibbles(
  words: Uint32Array,
  { rows, columns, wordsWide }: CodeMatrix,
  order: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7],
): Uint32Array<ArrayBuffer> {
  const wide = columns / 8;
  const result = new Uint32Array(rows * wide);
  for (let block = 0; block < wide; block++) {
    for (let place = 0; place < wordsWide; place++) {
      for (let slot = 0; slot < 8; slot++) {
        let word = 0;
        for (let column = 0; column < 8; column++) {
          const from = words[(block * 8 + column) * wordsWide + place];
          word |= ((from >>> (4 * slot)) & 15) << (4 * column);
        }
        result[(place * 8 + order[slot]) * wide + block] = word;
      }
    }
  }
  return result;
}

/** The codes one by one, a byte each. */
function eachCode(
  words: Uint32Array,
  { packing, add, mask }: Unpacking,
  { rows, columns, wordsWide }: CodeMatrix,
): Bytes {
  const { bits, along, transposed } = packing;
  const count = 32 / bits;
  const order = packing.order ?? Array.from({ length: count }, (_, i) => i);
  const codeMask = bits === 4 ? 15 : 255;
  const codes = new Uint8Array(rows * columns);
  const [height, width] = transposed ? [columns, rows] : [rows, columns];
  const [rowStep, columnStep] = transposed ? [1, columns] : [columns, 1];
  for (let at = 0; at < words.length; at++) {
    const line = Math.floor(at / wordsWide);
    const place = at - line * wordsWide;
    const word = words[at];
    for (let k = 0; k < count; k++) {
      const i = along === 0 ? line * count + order[k] : line;
      const j = along === 1 ? place * count + order[k] : place;
      if (i >= height || j >= width) continue;
      codes[i * rowStep + j * columnStep] = (((word >>> (bits * k)) & codeMask) + add) & mask;
    }
  }
  return codes;
}

/** Two codes a byte, the first in the low nibble. */
function joinNibbles(codes: Bytes): Bytes {
  const bytes = new Uint8Array(codes.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = codes[2 * i] | (codes[2 * i + 1] << 4);
  return bytes;
}
