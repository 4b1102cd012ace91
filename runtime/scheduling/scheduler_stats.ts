/**
 * What a scheduler has done so far, and what it is doing now.
 *
 * @module
 */

/** Totals since the engine was opened. */
export interface Counters {
  /** Steps that ran; repetitions count. */
  steps: number;
  /** Tokens of steps that computed prompts. */
  prefillTokens: number;
  /** Seconds of those steps. */
  prefillSeconds: number;
  /** Tokens of steps that did nothing else than decode. */
  decodeTokens: number;
  /** Seconds of those steps. */
  decodeSeconds: number;
  /** Tokens made. */
  generatedTokens: number;
  /** Tokens of the sequences that got a place, each time anew after a preemption. */
  promptTokens: number;
  /** Those of {@linkcode Counters.promptTokens} whose pages were known and not computed again. */
  reusedTokens: number;
  /** Sequences that lost their place to an older one and were computed again. */
  preemptions: number;
  /** Sequences that ended well. */
  finished: number;
  /** Sequences that ended in an error. */
  failed: number;
  /** Sequences that something else ended: their reader, signal or time limit, or the engine's end. */
  cancelled: number;
  /** Sequences that found the queue full. */
  refused: number;
}

/** A snapshot: JSON-safe. */
export interface SchedulerStats extends Readonly<Counters> {
  /** Sequences that have a place; the most that can have one. */
  readonly running: number;
  /** Sequences that can have a place. */
  readonly maxRunning: number;
  /** Sequences and other work without a place yet. */
  readonly waiting: number;
  /** Pages of the KV cache. */
  readonly pages: {
    readonly total: number;
    /** Used by sequences; a page that several share counts once. */
    readonly used: number;
    /** `total - used`: empty, or remembered without a user. */
    readonly free: number;
    /** Used or free: their tokens are known, so that the next sequence that begins so uses them. */
    readonly remembered: number;
    /** Tokens of a page. */
    readonly tokens: number;
  };
}

/** Counters of a scheduler that has done nothing. */
export function zeroCounters(): Counters {
  return {
    steps: 0,
    prefillTokens: 0,
    prefillSeconds: 0,
    decodeTokens: 0,
    decodeSeconds: 0,
    generatedTokens: 0,
    promptTokens: 0,
    reusedTokens: 0,
    preemptions: 0,
    finished: 0,
    failed: 0,
    cancelled: 0,
    refused: 0,
  };
}
