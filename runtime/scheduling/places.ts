/**
 * Assigns rows of the block table and pages of the cache to sequences.
 *
 * @module
 */

import { invariant } from "../../graph/mod.ts";
import { type BlockTable, BlockTables, pagesFor } from "./kv_cache.ts";
import { PagePool } from "./page_pool.ts";
import type { SequenceState } from "./sequence.ts";
import type { StepLimits } from "./step_limits.ts";
import type { Share } from "./step_plan.ts";
import type { Entry } from "./waiting_line.ts";

/** A row of the block table and the pages in it, for work that is not a sequence. */
export interface Place {
  readonly slot: number;
  readonly pages: readonly number[];
}

/** Pages by which the width of a step's block table grows. */
const COLUMN_STEP = 8;

/** The places of a program, and the sequences that have one. */
export class Places {
  /** Sequences that have a place. */
  readonly active: Set<SequenceState> = new Set();
  readonly pool: PagePool;
  readonly #tables: BlockTables;
  readonly #remembers: boolean;

  constructor(readonly limits: StepLimits) {
    this.pool = new PagePool(limits.pages);
    this.#tables = new BlockTables(limits.maxSequences);
    this.#remembers = limits.reusePrefixes !== false && limits.recompute !== true;
  }

  /**
   * Gives a sequence a row, the remembered pages of its beginning, and the further pages that it
   * needs. A sequence that begins like one whose prompt is being computed waits for those pages.
   */
  enter(state: SequenceState): Entry {
    if (this.#isUnderWay(state)) return "later";
    if (this.#tables.free === 0) return "full";
    const { pageSize } = this.limits;
    if (this.#remembers) {
      state.startWithKnown(this.pool, pageSize);
      state.waitsFor = this.#likeSequence(state);
      if (state.waitsFor) {
        state.releasePages(this.pool);
        return "later";
      }
    }
    // One page stays free for each active sequence, so that none of them loses its place at once.
    const slot = this.#take(state.pages, pagesFor(state.length, pageSize), this.active.size);
    if (slot === undefined) {
      state.releasePages(this.pool);
      return "full";
    }
    state.slot = slot;
    this.active.add(state);
    return "entered";
  }

  /** Places for work that is not a sequence, all of them or none; their pages are never shared. */
  take(count: number, tokens: number): readonly Place[] | undefined {
    const needed = pagesFor(tokens, this.limits.pageSize);
    // Pages that are taken in vain would be forgotten.
    if (count * needed > this.pool.free || count > this.#tables.free) return undefined;
    return Array.from({ length: count }, () => {
      const pages: number[] = [];
      const slot = this.#take(pages, needed, 0);
      invariant(slot !== undefined, "there were fewer free rows than counted");
      return { slot, pages };
    });
  }

  /** Gives such a place back. */
  release({ slot, pages }: Place): void {
    this.#tables.remove(slot);
    this.pool.release(pages);
  }

  /** Removes a sequence from its place; what it has computed stays remembered as long as possible. */
  leave(state: SequenceState): void {
    if (!this.active.delete(state)) return;
    if (state.slot !== undefined) this.#tables.remove(state.slot);
    state.slot = undefined;
    state.releasePages(this.pool);
  }

  /** Lets others find the pages that a sequence has filled. */
  remember(state: SequenceState): void {
    if (this.#remembers) state.rememberPages(this.pool, this.limits.pageSize);
  }

  /** Whether there are pages for all shares of a step that is repeated so many times. */
  haveRoom(shares: readonly Share[], repeat: number): boolean {
    const missing = shares.reduce((sum, share) => sum + this.#missing(share, repeat), 0);
    return missing <= this.pool.free;
  }

  /** Takes the pages that a share needs, or none when they do not suffice. */
  grow(share: Share, repeat: number): boolean {
    const missing = this.#missing(share, repeat);
    if (missing > this.pool.free) return false;
    if (missing === 0) return true;
    this.#extend(share.state.pages, share.state.pages.length + missing);
    this.#tables.changed();
    return true;
  }

  /** The block table of a step up to this many tokens of each sequence. */
  table(tokens: number): BlockTable {
    const { pageSize, pages, maxSequenceTokens } = this.limits;
    const most = Math.min(pages, pagesFor(maxSequenceTokens, pageSize));
    // A few columns more, so that the number seldom changes.
    const columns = Math.ceil(pagesFor(tokens, pageSize) / COLUMN_STEP) * COLUMN_STEP;
    return this.#tables.upTo(Math.min(most, columns));
  }

  #missing({ state, end }: Share, repeat: number): number {
    return Math.max(0, pagesFor(end + repeat - 1, this.limits.pageSize) - state.pages.length);
  }

  /** Adds pages to a list and puts it into a free row, or changes nothing. */
  #take(pages: number[], needed: number, spare: number): number | undefined {
    if (needed - pages.length + spare > this.pool.free) return undefined;
    const slot = this.#tables.add(pages);
    if (slot !== undefined) this.#extend(pages, needed);
    return slot;
  }

  #extend(pages: number[], needed: number): void {
    while (pages.length < needed) {
      const page = this.pool.take();
      invariant(page !== undefined, "there were fewer free pages than counted");
      pages.push(page);
    }
  }

  #isUnderWay({ waitsFor }: SequenceState): boolean {
    return waitsFor !== undefined && this.active.has(waitsFor.state) &&
      waitsFor.state.computed < waitsFor.computed;
  }

  /** A sequence that is computing more of this one's beginning than is remembered so far. */
  #likeSequence(state: SequenceState): SequenceState["waitsFor"] {
    const { pageSize } = this.limits;
    for (const other of this.active) {
      if (other.decoding) continue;
      const computed = state.commonTokens(other, pageSize);
      if (computed > state.computed && computed > other.computed) return { state: other, computed };
    }
    return undefined;
  }
}
