/**
 * The order of a packed weight in memory. As checkpoints have it, the chunks of a word follow each
 * other, so that invocations which read neighbouring words need elements of x that lie far apart. In the
 * **interleaved** order the chunks of a word lie as many chunks apart as a row has words: neighbouring
 * invocations need neighbouring chunks of x, and load sixteen bytes of codes at a time all the same.
 * (Marlin's repacking of weights for CUDA is of this kind.)
 *
 * A row of W words, c chunks each, begins with n = W - W % 4 words in that order: the first c · n
 * chunks of the row are a matrix c × n, and are stored as its transpose. What is left, up to three words,
 * stays as it was. Scales are ordered alike where it pays: those of four words lie side by side.
 *
 * The bits of FP4 codes are arranged as well: from 16 bits s0e0 s1e1 s2e2 s3e3, a sign and three bits of
 * each code from the lowest on, to those that `codes_fp4_arranged.wgsl` moves to their places in an f16.
 *
 * Weights are put into this order once, when they are on the device. `$NAME_place` (`place_*.wgsl`) says
 * which chunk of x meets which chunk of a word; nothing else knows of it.
 *
 * @module
 */

import type { WordOrder } from "../kernel.ts";

/** Words in the interleaved order come in fours, as four of MXFP4 share a scale with each part. */
export const WORDS_TOGETHER = 4;

/** Bytes of rows that a workgroup can hold at once on every device. */
const MOST_BYTES = 16384;

/** Words of a row that are interleaved; the few that are left stay as they are. */
export function interleavedWords(words: number): number {
  return words - words % WORDS_TOGETHER;
}

/** The order of rows of codes, in words of `chunks` chunks and 16 bytes. */
export function codeOrder(words: number, chunks: number, arranged = false): WordOrder {
  return {
    ...(arranged && { arranged }),
    unitBytes: 16 / chunks,
    units: words * chunks,
    parts: chunks,
    columns: interleavedWords(words),
    rows: 1,
  };
}

/**
 * The order of rows of scales, one for every four chunks, which then lie as the interleaved words of
 * `chunks` chunks need them: four words share as many.
 */
export function scaleOrder(words: number, chunks: number, unitBytes: number): WordOrder {
  const units = words * chunks / 4;
  const rowBytes = units * unitBytes;
  return {
    ...{ unitBytes, units, parts: chunks },
    columns: interleavedWords(words) / WORDS_TOGETHER,
    rows: rowBytes % 4 === 0 ? 1 : rowBytes % 2 === 0 ? 2 : 4,
  };
}

/** Whether a workgroup can put rows of an order into it, as many as there are. */
export function canOrder(order: WordOrder, totalRows: number): boolean {
  return totalRows % order.rows === 0 && groupBytes(order) % 4 === 0 &&
    groupBytes(order) <= MOST_BYTES;
}

/** Whether two orders are the same. */
export function isSameOrder(a: WordOrder | undefined, b: WordOrder | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Bytes of the rows that are ordered at once. */
export function groupBytes({ unitBytes, units, rows }: WordOrder): number {
  return unitBytes * units * rows;
}
