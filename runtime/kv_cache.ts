/**
 * The paged key/value cache as the host sees it: which pages are free, and which pages hold the
 * tokens of each sequence. Memory is allocated by the executor.
 *
 * @module
 */

import { type CacheSpec, DTYPE_BYTES, invariant } from "../graph/mod.ts";

/** Pages that hold so many tokens. */
export function pagesFor(tokens: number, pageSize: number): number {
  return Math.ceil(tokens / pageSize);
}

/** Bytes of the keys (and again of the values) of one cache: `[pages, kvHeads, pageSize, headDim]`. */
export function cacheBytes(cache: CacheSpec, pages: number): number {
  return pages * cache.kvHeads * cache.pageSize * cache.headDim * DTYPE_BYTES[cache.dtype];
}

/**
 * Free pages. A page number means the same page of every cache of a program.
 *
 * @example
 * ```ts
 * import { PagePool } from "./kv_cache.ts";
 * const pool = new PagePool(4);
 * const pages = pool.take(3);
 * console.assert(pages?.length === 3 && pool.take(2) === undefined && pool.free === 1);
 * ```
 */
export class PagePool {
  readonly #free: number[];
  readonly #taken = new Set<number>();

  constructor(readonly pages: number) {
    this.#free = Array.from({ length: pages }, (_, i) => pages - 1 - i);
  }

  /** Pages that nobody has. */
  get free(): number {
    return this.#free.length;
  }

  /** So many pages, or undefined when there are fewer. */
  take(count: number): readonly number[] | undefined {
    if (count > this.#free.length) return undefined;
    const pages = this.#free.splice(this.#free.length - count, count).reverse();
    for (const page of pages) this.#taken.add(page);
    return pages;
  }

  /** Gives pages back. */
  release(pages: readonly number[]): void {
    for (const page of pages) {
      invariant(this.#taken.delete(page), `page ${page} was released without being taken`);
      this.#free.push(page);
    }
  }
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

  /** The rows up to the last one in use, padded with page 0. */
  get table(): BlockTable {
    return this.upTo(Math.max(1, ...this.#rows.map((row) => row?.length ?? 0)));
  }

  /**
   * The same with at most so many pages a row: attention does work for every column, so a step
   * brings no more than its positions need.
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
