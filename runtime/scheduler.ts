/**
 * Which tokens the next step computes. Sequences share steps: each one that is decoding adds a
 * token, prompts are computed in chunks beside them, and new sequences enter when a row of the
 * block table and their pages are free.
 *
 * @module
 */

import { GREEDY, invariant, type Sampling } from "../graph/mod.ts";
import { yieldToEventLoop } from "./event_loop.ts";
import type { DispatchTiming, Program, StepRequest, StepResult } from "./executor.ts";
import { BlockTables, PagePool, pagesFor } from "./kv_cache.ts";

/** Sizes that a program was compiled for. */
export interface StepLimits {
  /** Tokens of one step. */
  readonly maxTokens: number;
  /** Rows of one step with logits. */
  readonly maxRows: number;
  /** Sequences alive at a time. */
  readonly maxSequences: number;
  /** Tokens of one sequence, prompt and answer together. */
  readonly maxSequenceTokens: number;
  /** Pages of each cache, and tokens of a page. */
  readonly pages: number;
  readonly pageSize: number;
  /** True for a graph without caches: every step computes one sequence from its beginning. */
  readonly recompute?: boolean;
}

/** A sequence as the scheduler sees it. */
export interface Sequence {
  readonly prompt: Int32Array<ArrayBuffer>;
  readonly maxNewTokens: number;
  readonly sampling: Sampling;
  /** False while the reader is behind; the sequence then waits. */
  readonly wantsTokens: boolean;
  /** True once nobody wants the sequence any more. */
  readonly cancelled: boolean;
  /** Takes the next token; false ends the sequence. */
  accept(token: number, last: boolean): boolean;
  fail(error: unknown): void;
}

/** Tokens and seconds so far. */
export interface StepTimes {
  prefillTokens: number;
  prefillSeconds: number;
  decodeTokens: number;
  decodeSeconds: number;
  steps: number;
}

/** A sequence that has its reservation. */
interface ActiveSequence {
  readonly sequence: Sequence;
  readonly reservation: Reservation;
  /** The prompt and the tokens made so far; room for all that may come. */
  readonly tokens: Int32Array<ArrayBuffer>;
  length: number;
  /** Tokens whose keys and values are in the cache. */
  computed: number;
}

/** A row of the block table (its number is the slot) and the pages in it. */
interface Reservation {
  readonly slot: number;
  readonly pages: readonly number[];
}

/** A request for a reservation, in the queue. */
interface Claim {
  readonly tokens: number;
  readonly cancelled: () => boolean;
  readonly grant: (reservation: Reservation) => void;
  readonly fail: (error: unknown) => void;
}

/** Tokens of one sequence that a step computes. */
interface TokenRun {
  readonly active: ActiveSequence;
  readonly tokens: Int32Array<ArrayBuffer>;
  readonly start: number;
  /** Whether the last of them gets a next token. */
  readonly sampled: boolean;
}

/** Runs sequences over one program. */
export class Scheduler {
  readonly times: StepTimes = {
    prefillTokens: 0,
    prefillSeconds: 0,
    decodeTokens: 0,
    decodeSeconds: 0,
    steps: 0,
  };
  readonly #pool: PagePool;
  readonly #tables: BlockTables;
  readonly #active = new Set<ActiveSequence>();
  readonly #claims: Claim[] = [];
  readonly #jobs = new Set<Promise<unknown>>();
  #running = false;
  #pump: Promise<void> = Promise.resolve();

  constructor(readonly program: Program, readonly limits: StepLimits) {
    invariant(
      limits.maxTokens >= limits.maxSequences && limits.maxRows >= limits.maxSequences,
      `steps of ${limits.maxTokens} tokens for ${limits.maxSequences} sequences`,
    );
    this.#pool = new PagePool(limits.pages);
    this.#tables = new BlockTables(limits.maxSequences);
  }

  /** Pages in use, and sequences running and waiting. */
  get load(): { readonly pages: number; readonly running: number; readonly waiting: number } {
    const pages = this.limits.pages - this.#pool.free;
    return { pages, running: this.#active.size, waiting: this.#claims.length };
  }

  /** Queues a sequence; it runs when there is room. */
  add(sequence: Sequence): void {
    this.#claims.push({
      tokens: sequence.prompt.length + sequence.maxNewTokens,
      cancelled: () => sequence.cancelled,
      grant: (reservation) => {
        this.#active.add(activate(sequence, reservation));
      },
      fail: (error) => sequence.fail(error),
    });
    this.wake();
  }

  /** Goes on when a reader has caught up, or a sequence was cancelled. */
  wake(): void {
    if (this.#running) return;
    this.#running = true;
    this.#pump = this.#loop();
  }

  /** Ends every sequence with this error. */
  async close(error: unknown): Promise<void> {
    this.#failAll(error);
    await Promise.allSettled(this.#jobs);
    await this.idle();
  }

  /** Resolves when no step is running. */
  async idle(): Promise<void> {
    while (this.#running) await this.#pump;
  }

  /** Logits of every row of a sequence `[tokens, vocab]`, computed chunk by chunk. */
  logits(tokens: Int32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> {
    return this.#track(() => this.#logits(tokens));
  }

  async #logits(tokens: Int32Array<ArrayBuffer>): Promise<Float32Array<ArrayBuffer>> {
    const reservation = await this.#claim(tokens.length);
    try {
      const { maxTokens, maxRows, recompute } = this.limits;
      const chunk = recompute ? tokens.length : Math.min(maxTokens, maxRows);
      let all: Float32Array<ArrayBuffer> | undefined;
      for (let start = 0; start < tokens.length; start += chunk) {
        const part = tokens.slice(start, start + chunk);
        const rows = Int32Array.from(part.keys());
        const { logits } = await this.program.step({
          ...flatten([{ tokens: part, start, slot: reservation.slot }]),
          blockTable: this.#tables.upTo(pagesFor(start + part.length, this.limits.pageSize)),
          logitsRows: rows,
          want: "logits",
          repeat: 1,
        });
        invariant(logits, "the program gave no logits");
        all ??= new Float32Array(logits.length / part.length * tokens.length);
        all.set(logits, start * (logits.length / part.length));
        await yieldToEventLoop();
      }
      return all ?? new Float32Array();
    } finally {
      this.#free(reservation);
      this.wake();
    }
  }

  /**
   * Times of the dispatches of a step of `tokens` tokens after `context` others, which count as
   * computed. A step of one token is sampled as well.
   */
  profile(tokens: number, context: number): Promise<readonly DispatchTiming[] | undefined> {
    return this.#track(async () => {
      const reservation = await this.#claim(context + tokens);
      try {
        const run = { tokens: new Int32Array(tokens), start: context, slot: reservation.slot };
        return await this.program.profile?.({
          ...flatten([run]),
          blockTable: this.#tables.upTo(reservation.pages.length),
          logitsRows: Int32Array.of(tokens - 1),
          want: tokens === 1 ? [GREEDY] : "logits",
          repeat: 1,
        });
      } finally {
        this.#free(reservation);
        this.wake();
      }
    });
  }

  /** Lets {@linkcode Scheduler.close} wait for a job. */
  #track<Result>(work: () => Promise<Result>): Promise<Result> {
    const job = work();
    this.#jobs.add(job);
    return job.finally(() => this.#jobs.delete(job));
  }

  #claim(tokens: number): Promise<Reservation> {
    const { promise, resolve, reject } = Promise.withResolvers<Reservation>();
    this.#claims.push({ tokens, cancelled: () => false, grant: resolve, fail: reject });
    this.#admit();
    return promise;
  }

  async #loop(): Promise<void> {
    try {
      for (;;) {
        this.#sweep();
        this.#admit();
        const runs = this.#nextRuns();
        if (runs.length === 0) break;
        await this.#step(runs);
        await yieldToEventLoop();
      }
    } catch (error) {
      this.#failAll(error);
    }
    // Nothing may come between finding no work and this line, or a call of wake() would be lost.
    this.#running = false;
  }

  #failAll(error: unknown): void {
    for (const active of this.#active) active.sequence.fail(error);
    for (const claim of this.#claims.splice(0)) claim.fail(error);
    this.#active.forEach((active) => this.#end(active));
  }

  /** Lets go of sequences that nobody wants any more. */
  #sweep(): void {
    for (const active of this.#active) if (active.sequence.cancelled) this.#end(active);
    const wanted = this.#claims.filter((claim) => !claim.cancelled());
    this.#claims.splice(0, this.#claims.length, ...wanted);
  }

  /** Grants reservations in the order of their requests. */
  #admit(): void {
    for (let claim = this.#claims[0]; claim !== undefined; claim = this.#claims[0]) {
      const pages = this.#pool.take(pagesFor(claim.tokens, this.limits.pageSize));
      if (!pages) return;
      const slot = this.#tables.add(pages);
      if (slot === undefined) {
        this.#pool.release(pages);
        return;
      }
      this.#claims.shift();
      claim.grant({ slot, pages });
    }
  }

  #nextRuns(): TokenRun[] {
    const ready = [...this.#active].filter(({ sequence }) => sequence.wantsTokens);
    if (this.limits.recompute) return this.#wholeSequence(ready);
    const decoding = ready.filter((active) =>
      active.computed > 0 && active.length - active.computed === 1
    );
    const prefilling = ready.filter((active) => !decoding.includes(active));
    const runs: TokenRun[] = [];
    let room = this.limits.maxTokens;
    for (const active of [...decoding, ...prefilling]) {
      if (room === 0) break;
      const end = Math.min(active.length, active.computed + room);
      runs.push(runOf(active, active.computed, end));
      room -= end - active.computed;
    }
    return runs;
  }

  /** One sequence from its beginning; the others take their turns. */
  #wholeSequence(ready: readonly ActiveSequence[]): TokenRun[] {
    const [active] = ready;
    if (!active) return [];
    this.#active.delete(active);
    this.#active.add(active);
    return [runOf(active, 0, active.length)];
  }

  async #step(runs: readonly TokenRun[]): Promise<void> {
    const started = performance.now();
    const repeat = this.#repeat(runs);
    let result: StepResult;
    try {
      result = await this.program.step(this.#request(runs, repeat));
    } catch (error) {
      for (const { active } of runs) {
        active.sequence.fail(error);
        this.#end(active);
      }
      return;
    }
    this.#count(runs, repeat, (performance.now() - started) / 1000);
    const sampled = runs.filter((run) => run.sampled);
    invariant(
      sampled.length === 0 || result.tokens?.length === repeat,
      "the program gave no tokens",
    );
    for (const { active, start, tokens } of runs) {
      active.computed = start + tokens.length + repeat - 1;
    }
    for (const [row, { active }] of sampled.entries()) {
      this.#deliver(active, (result.tokens ?? []).map((tokens) => tokens[row]));
    }
  }

  #request(runs: readonly TokenRun[], repeat: number): StepRequest {
    const rows: number[] = [];
    const want: Sampling[] = [];
    let end = 0;
    for (const { active, tokens, sampled, start } of runs) {
      end += tokens.length;
      if (!sampled) continue;
      rows.push(end - 1);
      const { sampling } = active.sequence;
      want.push(sampling);
      // The prompt's last chunk: from here on samples join the set of seen tokens.
      if (isPrompt(active, start) && sampling.repetitionPenalty !== 1) {
        this.program.markSeen(active.reservation.slot, active.tokens.slice(0, active.length));
      }
    }
    const flat = flatten(runs.map(({ tokens, start, active }) => ({
      tokens,
      start,
      slot: active.reservation.slot,
    })));
    const blockTable = this.#tables.upTo(this.#columns(runs, repeat));
    // A step makes at least one row; in the middle of a prompt nobody looks at it.
    if (rows.length === 0) {
      return { ...flat, blockTable, logitsRows: Int32Array.of(end - 1), want: [GREEDY], repeat };
    }
    return { ...flat, blockTable, logitsRows: Int32Array.from(rows), want, repeat };
  }

  /** Pages of the longest sequence of a step, a few more so that the number seldom changes. */
  #columns(runs: readonly TokenRun[], repeat: number): number {
    const { pageSize, pages, maxSequenceTokens } = this.limits;
    const ends = runs.map(({ start, tokens }) => start + tokens.length + repeat - 1);
    const needed = pagesFor(Math.max(...ends), pageSize);
    const most = Math.min(pages, pagesFor(maxSequenceTokens, pageSize));
    return Math.min(most, Math.ceil(needed / COLUMN_STEP) * COLUMN_STEP);
  }

  /** Steps to run without looking at their tokens: when all only decode and nobody waits. */
  #repeat(runs: readonly TokenRun[]): number {
    const most = this.program.preferredRepeat ?? 1;
    const decoding = runs.every(({ active, start }) => !isPrompt(active, start));
    if (most === 1 || !decoding || this.#claims.length > 0) return 1;
    const left = runs.map(({ active }) => active.tokens.length - active.length);
    return Math.max(1, Math.min(most, ...left));
  }

  #deliver(active: ActiveSequence, tokens: readonly number[]): void {
    for (const token of tokens) {
      active.tokens[active.length++] = token;
      const last = active.length === active.tokens.length;
      if (active.sequence.cancelled || !active.sequence.accept(token, last) || last) {
        this.#end(active);
        return;
      }
    }
  }

  #count(runs: readonly TokenRun[], repeat: number, seconds: number): void {
    const { times } = this;
    times.steps += repeat;
    const prompt = runs.filter(({ active, start }) => isPrompt(active, start));
    if (prompt.length > 0) {
      times.prefillTokens += prompt.reduce((sum, { tokens }) => sum + tokens.length, 0);
      times.prefillSeconds += seconds;
    } else {
      times.decodeTokens += runs.length * repeat;
      times.decodeSeconds += seconds;
    }
  }

  #end(active: ActiveSequence): void {
    if (this.#active.delete(active)) this.#free(active.reservation);
  }

  #free({ slot, pages }: Reservation): void {
    this.#tables.remove(slot);
    this.#pool.release(pages);
  }
}

/** Pages by which the width of a step's block table grows. */
const COLUMN_STEP = 8;

function activate(sequence: Sequence, reservation: Reservation): ActiveSequence {
  const { prompt, maxNewTokens } = sequence;
  const tokens = new Int32Array(prompt.length + maxNewTokens);
  tokens.set(prompt);
  return { sequence, reservation, tokens, length: prompt.length, computed: 0 };
}

function runOf(active: ActiveSequence, start: number, end: number): TokenRun {
  return { active, start, tokens: active.tokens.slice(start, end), sampled: end === active.length };
}

/** Whether a step that starts at this token computes part of the prompt. */
function isPrompt(active: ActiveSequence, start: number): boolean {
  return start < active.sequence.prompt.length;
}

/** Token ids, positions and sequence ids of several runs of tokens, one after the other. */
function flatten(
  runs: readonly { tokens: Int32Array<ArrayBuffer>; start: number; slot: number }[],
): Pick<StepRequest, "tokenIds" | "positions" | "sequenceIds"> {
  const total = runs.reduce((sum, { tokens }) => sum + tokens.length, 0);
  const tokenIds = new Int32Array(total);
  const positions = new Int32Array(total);
  const sequenceIds = new Int32Array(total);
  let at = 0;
  for (const { tokens, start, slot } of runs) {
    tokenIds.set(tokens, at);
    for (let i = 0; i < tokens.length; i++) positions[at + i] = start + i;
    sequenceIds.fill(slot, at, at + tokens.length);
    at += tokens.length;
  }
  return { tokenIds, positions, sequenceIds };
}
