/**
 * The paged key/value cache as the host sees it: its size, and which pages hold the tokens of each
 * sequence. `page_pool.ts` knows which pages are free. Memory is allocated by the executor.
 *
 * @module
 */

import { type CacheSpec, DTYPE_BYTES, elementCount } from "../../graph/mod.ts";

/** Pages that hold so many tokens. */
export function pagesFor(tokens: number, pageSize: number): number {
  return Math.ceil(tokens / pageSize);
}

/** Keys or values of a cache. */
export type CachePart = "keys" | "values";

/** Shape of one part of a cache: `[pages, kvHeads, pageSize, headDim or valueDim]`. */
export function cacheShape(cache: CacheSpec, pages: number, part: CachePart): number[] {
  const { kvHeads, pageSize, headDim, valueDim = headDim } = cache;
  return [pages, kvHeads, pageSize, part === "keys" ? headDim : valueDim];
}

/** Bytes of one part of a cache. */
export function cacheBytes(cache: CacheSpec, pages: number, part: CachePart): number {
  return elementCount(cacheShape(cache, pages, part)) * DTYPE_BYTES[cache.dtype];
}

/**
 * Block tables of the sequences of a program, one row a slot. A row keeps its place as long as its
 * sequence lives, so that a step without changes sends the device nothing.
 */
export class BlockTables {
  readonly #rows: (readonly number[] | undefined)[];
  #table: BlockTable | undefined;

  constructor(readonly slots: number) {
    this.#rows = new Array<undefined>(slots).fill(undefined);
  }

  /** A free row with these pages, or undefined when every row is taken. */
  add(pages: readonly number[]): number | undefined {
    const slot = this.#rows.indexOf(undefined);
    if (slot < 0) return undefined;
    this.#rows[slot] = pages;
    this.#table = undefined;
    return slot;
  }

  remove(slot: number): void {
    this.#rows[slot] = undefined;
    this.#table = undefined;
  }

  /** Says that a row has become longer. */
  changed(): void {
    this.#table = undefined;
  }

  /** Rows that no sequence has. */
  get free(): number {
    return this.#rows.reduce((sum, row) => row ? sum : sum + 1, 0);
  }

  /**
   * The rows up to the last one in use, with at most so many pages each, padded with page 0: attention does
   * work for every column, so a step brings no more than its positions need.
   */
  upTo(pages: number): BlockTable {
    if (this.#table?.pages !== pages) this.#table = this.#build(pages);
    return this.#table;
  }

  #build(pages: number): BlockTable {
    const sequences = this.#rows.findLastIndex((row) => row !== undefined) + 1;
    const data = new Int32Array(sequences * pages);
    for (const [slot, row] of this.#rows.slice(0, sequences).entries()) {
      data.set(row?.slice(0, pages) ?? [], slot * pages);
    }
    return { data, sequences, pages };
  }
}

/** Page numbers `[sequences, pages]` as a step takes them. */
export interface BlockTable {
  readonly data: Int32Array<ArrayBuffer>;
  readonly sequences: number;
  readonly pages: number;
}
