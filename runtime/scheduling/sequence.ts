/**
 * A sequence of tokens: what the scheduler needs from its owner, and its state.
 *
 * @module
 */

import {
  type DrawDetails,
  KernelError,
  type Sampling,
  type TokenLogprobs,
} from "../../graph/mod.ts";
import { NO_PREFIX, type PagePool, type PageTokens, type Prefix } from "./page_pool.ts";

/** A sequence as its owner sees it. */
export interface Sequence {
  readonly prompt: Int32Array<ArrayBuffer>;
  readonly maxNewTokens: number;
  readonly sampling: Sampling;
  /** False while the reader is behind; the sequence then gives its place to others. */
  readonly wantsTokens: boolean;
  /** True once the sequence was cancelled. */
  readonly cancelled: boolean;
  /** Told when it gets a place: how many tokens of it the cache has already. */
  enter?(reusedTokens: number): void;
  /**
   * What the next draw depends on besides {@linkcode Sequence.sampling}; undefined where that is
   * all. An error ends this sequence and no other.
   */
  nextDraw?(): DrawDetails | undefined;
  /** Takes the next token; false ends the sequence. */
  accept(token: number, last: boolean, logprobs?: TokenLogprobs): boolean;
  /** Makes text of the tokens taken since the last call; the device may be busy meanwhile. */
  flush?(): void;
  fail(error: unknown): void;
}

/** What a sequence has computed so far, and where its keys and values are. */
export class SequenceState {
  /** The prompt and the tokens made so far; room for all that may come. */
  readonly tokens: Int32Array<ArrayBuffer>;
  length: number;
  /** Tokens whose keys and values are in the cache. */
  computed = 0;
  /** Row of the block table; undefined while the sequence waits. */
  slot: number | undefined;
  /** Pages of the cache in the order of the tokens; the block table's row is this very array. */
  readonly pages: number[] = [];
  /** Whether the program knows the tokens that the repetition penalty is about. */
  marked = false;
  /** Whole pages that are remembered, and what they hold together. */
  #remembered = 0;
  #prefix: Prefix = NO_PREFIX;
  readonly #pageTexts: PageTokens[] = [];
  /** Another sequence computes what this one begins with: it waits until that has come so far. */
  waitsFor: { readonly state: SequenceState; readonly computed: number } | undefined;

  constructor(
    readonly sequence: Sequence,
    /** Number of the request, in the order of arrival. */
    readonly arrival: number,
  ) {
    const { prompt, maxNewTokens } = sequence;
    this.tokens = new Int32Array(prompt.length + maxNewTokens);
    this.tokens.set(prompt);
    this.length = prompt.length;
  }

  /** Whether all but the newest token are in the cache. */
  get decoding(): boolean {
    return this.computed > 0 && this.length - this.computed === 1;
  }

  /** Tokens that may still be made. */
  get left(): number {
    return this.tokens.length - this.length;
  }

  /**
   * Starts with the remembered pages of its own beginning, and shares them. At least one token is
   * left to be computed, for its logits.
   */
  startWithKnown(pool: PagePool, pageSize: number): void {
    while ((this.#remembered + 1) * pageSize < this.length) {
      const known = pool.find(this.#prefix, this.#pageTokens(this.#remembered, pageSize));
      if (!known) break;
      pool.share(known);
      this.pages.push(known.page);
      this.#prefix = known.prefix;
      this.#remembered++;
    }
    this.computed = this.#remembered * pageSize;
  }

  /** Lets others find the pages that have become full. */
  rememberPages(pool: PagePool, pageSize: number): void {
    const full = Math.floor(Math.min(this.computed, this.length) / pageSize);
    while (this.#remembered < full) {
      const page = this.pages[this.#remembered];
      const tokens = this.#pageTokens(this.#remembered, pageSize);
      this.#prefix = pool.remember(page, this.#prefix, tokens);
      this.#remembered++;
    }
  }

  /** Tokens with which both begin, in whole pages, of which at least one is left to this one. */
  commonTokens({ tokens, length }: SequenceState, pageSize: number): number {
    const most = Math.min(this.length - 1, length);
    let same = 0;
    while (same < most && this.tokens[same] === tokens[same]) same++;
    return same - same % pageSize;
  }

  /** Kept, because a sequence that waits looks for its pages again and again. */
  #pageTokens(page: number, pageSize: number): PageTokens {
    return this.#pageTexts[page] ??= this.tokens.subarray(page * pageSize, (page + 1) * pageSize)
      .join();
  }

  /** Gives all pages back; what they held is found again or computed again. */
  releasePages(pool: PagePool): void {
    pool.release(this.pages);
    this.pages.length = 0;
    this.computed = 0;
    this.marked = false;
    this.#remembered = 0;
    this.#prefix = NO_PREFIX;
  }
}

/** Where logits that are not finite come from. */
const BROKEN_HINT =
  "Check the weights, and compare with the cpu executor; keys or values beyond 65504 do not fit a KV cache in f16: try kv_cache_dtype: f32";

/** The error of a sequence whose logits are asked for and are NaN. */
export function nanLogits(): KernelError {
  return new KernelError("kernel/logits", "Cannot compute logits: expected numbers, got NaN", {
    hint: BROKEN_HINT,
  });
}

/** The error of a sequence whose logits cannot be sampled. */
export function brokenLogits(): KernelError {
  return new KernelError(
    "kernel/logits",
    "Cannot sample a token: expected finite logits, got NaN or infinity",
    { hint: BROKEN_HINT },
  );
}
