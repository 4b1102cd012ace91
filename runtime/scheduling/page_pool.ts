/**
 * Pages of the KV cache: which are free, which sequences use them, and which tokens they hold.
 *
 * A page that a sequence has filled is remembered by its tokens and by everything in front of them,
 * so that a later sequence with the same beginning uses it instead of computing it again. Only full
 * pages are shared, and full pages are never written again, so none is copied. A remembered page
 * without a user counts as free and is reused when no empty page is left, the longest unused first.
 *
 * @module
 */

import { invariant } from "../../graph/mod.ts";

/**
 * Stands for the tokens from the beginning of a sequence to the end of one of its pages. Two
 * sequences have the same prefix exactly when all of these tokens are equal: no hash can collide.
 */
export type Prefix = number;

/** The beginning of every sequence. */
export const NO_PREFIX: Prefix = 0;

/** The token ids of a page, joined by commas. */
export type PageTokens = string;

/** A page whose tokens are known. */
export interface KnownPage {
  readonly page: number;
  /** Everything up to the end of the page. */
  readonly prefix: Prefix;
}

/**
 * The pages of a program's caches. A page number means the same page of every cache.
 *
 * @example
 * ```ts
 * import { NO_PREFIX, PagePool } from "./page_pool.ts";
 * const pool = new PagePool(2);
 * const page = pool.take() ?? -1;
 * pool.remember(page, NO_PREFIX, "5,7");
 * pool.release([page]);
 * console.assert(pool.free === 2 && pool.remembered === 1);
 * console.assert(pool.find(NO_PREFIX, "5,7")?.page === page);
 * ```
 */
export class PagePool {
  /** Pages without remembered tokens. */
  readonly #empty: number[];
  /** Remembered pages without a user, the longest unused first. */
  readonly #idle = new Set<number>();
  /** Sequences that use a page. */
  readonly #users: Uint32Array<ArrayBuffer>;
  readonly #known = new Map<string, KnownPage>();
  readonly #keyOf = new Map<number, string>();
  #lastPrefix: Prefix = NO_PREFIX;

  constructor(readonly pages: number) {
    this.#empty = Array.from({ length: pages }, (_, i) => pages - 1 - i);
    this.#users = new Uint32Array(pages);
  }

  /** Pages that can be taken: empty ones and those that are only remembered. */
  get free(): number {
    return this.#empty.length + this.#idle.size;
  }

  /** Pages that sequences use. */
  get used(): number {
    return this.pages - this.free;
  }

  /** Pages whose tokens are known, in use or not. */
  get remembered(): number {
    return this.#known.size;
  }

  /** A page for one user, or undefined when none is free. */
  take(): number | undefined {
    const page = this.#empty.pop() ?? this.#forgetOldest();
    if (page !== undefined) this.#users[page] = 1;
    return page;
  }

  /** Removes one user from each of these pages, given in the order of the sequence. */
  release(pages: readonly number[]): void {
    // Fewer sequences can use the end of a sequence than its beginning, so the end is reused first.
    for (const page of pages.toReversed()) {
      invariant(this.#users[page] > 0, `page ${page} was released without being taken`);
      if (--this.#users[page] > 0) continue;
      if (this.#keyOf.has(page)) this.#idle.add(page);
      else this.#empty.push(page);
    }
  }

  /** The page that holds these tokens after a prefix, if one is remembered. */
  find(after: Prefix, tokens: PageTokens): KnownPage | undefined {
    return this.#known.get(`${after}:${tokens}`);
  }

  /** Adds a user to a remembered page. */
  share({ page }: KnownPage): void {
    this.#users[page]++;
    this.#idle.delete(page);
  }

  /** Remembers the tokens of a full page; returns the prefix up to its end. */
  remember(page: number, after: Prefix, tokens: PageTokens): Prefix {
    const key = `${after}:${tokens}`;
    const known = this.#known.get(key);
    // Two sequences computed the same page at the same time: the first one is shared.
    if (known) return known.prefix;
    const prefix = ++this.#lastPrefix;
    this.#known.set(key, { page, prefix });
    this.#keyOf.set(page, key);
    return prefix;
  }

  #forgetOldest(): number | undefined {
    const [page] = this.#idle;
    if (page === undefined) return undefined;
    this.#idle.delete(page);
    const key = this.#keyOf.get(page);
    this.#keyOf.delete(page);
    if (key !== undefined) this.#known.delete(key);
    return page;
  }
}
