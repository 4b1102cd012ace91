/**
 * Which tokens the next step computes. Sequences share steps: each one that is decoding adds a
 * token, prompts are computed in chunks beside them, and new sequences enter when a row of the
 * block table and their pages are free.
 *
 * @module
 */

import { invariant } from "../graph/mod.ts";
import { breathe } from "./breathe.ts";
import type { DispatchTiming, Program, Sampling, StepRequest, StepResult } from "./executor.ts";
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

/** A sequence that has its pages. */
interface Lane {
  readonly sequence: Sequence;
  readonly place: Place;
  /** The prompt and the tokens made so far; room for all that may come. */
  readonly tokens: Int32Array<ArrayBuffer>;
  length: number;
  /** Tokens whose keys and values are in the cache. */
  computed: number;
}

/** A row of the block table and the pages in it. */
interface Place {
  readonly slot: number;
  readonly pages: readonly number[];
}

/** Someone in the queue for a place. */
interface Claim {
  readonly tokens: number;
  readonly cancelled: () => boolean;
  readonly grant: (place: Place) => void;
  readonly fail: (error: unknown) => void;
}

/** Tokens that one lane adds to a step. */
interface Part {
  readonly lane: Lane;
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
  readonly #lanes = new Set<Lane>();
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
    return { pages, running: this.#lanes.size, waiting: this.#claims.length };
  }

  /** Queues a sequence; it runs when there is room. */
  add(sequence: Sequence): void {
    this.#claims.push({
      tokens: sequence.prompt.length + sequence.maxNewTokens,
      cancelled: () => sequence.cancelled,
      grant: (place) => {
        this.#lanes.add(newLane(sequence, place));
      },
      fail: (error) => sequence.fail(error),
    });
    this.wake();
  }

  /** Goes on when a reader has caught up, or a sequence was cancelled. */
  wake(): void {
    if (this.#running) return;
    this.#running = true;
    this.#pump = this.#run();
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
    const place = await this.#claim(tokens.length);
    try {
      const { maxTokens, maxRows, recompute } = this.limits;
      const chunk = recompute ? tokens.length : Math.min(maxTokens, maxRows);
      let all: Float32Array<ArrayBuffer> | undefined;
      for (let start = 0; start < tokens.length; start += chunk) {
        const part = tokens.slice(start, start + chunk);
        const rows = Int32Array.from(part.keys());
        const { logits } = await this.program.step({
          ...flatten([{ tokens: part, start, slot: place.slot }]),
          blockTable: this.#tables.upTo(pagesFor(start + part.length, this.limits.pageSize)),
          logitsRows: rows,
          want: "logits",
          repeat: 1,
        });
        invariant(logits, "the program gave no logits");
        all ??= new Float32Array(logits.length / part.length * tokens.length);
        all.set(logits, start * (logits.length / part.length));
        await breathe();
      }
      return all ?? new Float32Array();
    } finally {
      this.#free(place);
      this.wake();
    }
  }

  /**
   * Times of the dispatches of a step of `tokens` tokens after `context` others, which count as
   * computed. A step of one token is sampled as well.
   */
  profile(tokens: number, context: number): Promise<readonly DispatchTiming[] | undefined> {
    return this.#track(async () => {
      const place = await this.#claim(context + tokens);
      try {
        const run = { tokens: new Int32Array(tokens), start: context, slot: place.slot };
        return await this.program.profile?.({
          ...flatten([run]),
          blockTable: this.#tables.upTo(place.pages.length),
          logitsRows: Int32Array.of(tokens - 1),
          want: tokens === 1 ? [GREEDY] : "logits",
          repeat: 1,
        });
      } finally {
        this.#free(place);
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

  #claim(tokens: number): Promise<Place> {
    const { promise, resolve, reject } = Promise.withResolvers<Place>();
    this.#claims.push({ tokens, cancelled: () => false, grant: resolve, fail: reject });
    this.#admit();
    return promise;
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        this.#sweep();
        this.#admit();
        const parts = this.#nextParts();
        if (parts.length === 0) break;
        await this.#step(parts);
        await breathe();
      }
    } catch (error) {
      this.#failAll(error);
    }
    // Nothing may come between finding no work and this line, or a call of wake() would be lost.
    this.#running = false;
  }

  #failAll(error: unknown): void {
    for (const lane of this.#lanes) lane.sequence.fail(error);
    for (const claim of this.#claims.splice(0)) claim.fail(error);
    this.#lanes.forEach((lane) => this.#end(lane));
  }

  /** Lets go of sequences that nobody wants any more. */
  #sweep(): void {
    for (const lane of this.#lanes) if (lane.sequence.cancelled) this.#end(lane);
    const wanted = this.#claims.filter((claim) => !claim.cancelled());
    this.#claims.splice(0, this.#claims.length, ...wanted);
  }

  /** Gives places in the order they were asked for. */
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

  #nextParts(): Part[] {
    const ready = [...this.#lanes].filter(({ sequence }) => sequence.wantsTokens);
    if (this.limits.recompute) return this.#wholeSequence(ready);
    const decoding = ready.filter((lane) => lane.computed > 0 && lane.length - lane.computed === 1);
    const prefilling = ready.filter((lane) => !decoding.includes(lane));
    const parts: Part[] = [];
    let room = this.limits.maxTokens;
    for (const lane of [...decoding, ...prefilling]) {
      if (room === 0) break;
      const end = Math.min(lane.length, lane.computed + room);
      parts.push(partOf(lane, lane.computed, end));
      room -= end - lane.computed;
    }
    return parts;
  }

  /** One sequence from its beginning; the others take their turns. */
  #wholeSequence(ready: readonly Lane[]): Part[] {
    const [lane] = ready;
    if (!lane) return [];
    this.#lanes.delete(lane);
    this.#lanes.add(lane);
    return [partOf(lane, 0, lane.length)];
  }

  async #step(parts: readonly Part[]): Promise<void> {
    const started = performance.now();
    const repeat = this.#repeat(parts);
    let result: StepResult;
    try {
      result = await this.program.step(this.#request(parts, repeat));
    } catch (error) {
      for (const { lane } of parts) {
        lane.sequence.fail(error);
        this.#end(lane);
      }
      return;
    }
    this.#count(parts, repeat, (performance.now() - started) / 1000);
    const sampled = parts.filter((part) => part.sampled);
    invariant(
      sampled.length === 0 || result.tokens?.length === repeat,
      "the program gave no tokens",
    );
    for (const { lane, start, tokens } of parts) lane.computed = start + tokens.length + repeat - 1;
    for (const [row, { lane }] of sampled.entries()) {
      this.#deliver(lane, (result.tokens ?? []).map((tokens) => tokens[row]));
    }
  }

  #request(parts: readonly Part[], repeat: number): StepRequest {
    const rows: number[] = [];
    const want: Sampling[] = [];
    let end = 0;
    for (const { lane, tokens, sampled, start } of parts) {
      end += tokens.length;
      if (!sampled) continue;
      rows.push(end - 1);
      const { sampling } = lane.sequence;
      want.push(sampling);
      // The prompt's last chunk: from here on samples join the set of seen tokens.
      if (isPrompt(lane, start) && sampling.repetitionPenalty !== 1) {
        this.program.markSeen(lane.place.slot, lane.tokens.slice(0, lane.length));
      }
    }
    const flat = flatten(parts.map(({ tokens, start, lane }) => ({
      tokens,
      start,
      slot: lane.place.slot,
    })));
    const blockTable = this.#tables.upTo(this.#columns(parts, repeat));
    // A step makes at least one row; in the middle of a prompt nobody looks at it.
    if (rows.length === 0) {
      return { ...flat, blockTable, logitsRows: Int32Array.of(end - 1), want: [GREEDY], repeat };
    }
    return { ...flat, blockTable, logitsRows: Int32Array.from(rows), want, repeat };
  }

  /** Pages of the longest sequence of a step, a few more so that the number seldom changes. */
  #columns(parts: readonly Part[], repeat: number): number {
    const { pageSize, pages, maxSequenceTokens } = this.limits;
    const ends = parts.map(({ start, tokens }) => start + tokens.length + repeat - 1);
    const needed = pagesFor(Math.max(...ends), pageSize);
    const most = Math.min(pages, pagesFor(maxSequenceTokens, pageSize));
    return Math.min(most, Math.ceil(needed / COLUMN_STEP) * COLUMN_STEP);
  }

  /** Steps to run without looking at their tokens: when all only decode and nobody waits. */
  #repeat(parts: readonly Part[]): number {
    const most = this.program.preferredRepeat ?? 1;
    const decoding = parts.every(({ lane, start }) => !isPrompt(lane, start));
    if (most === 1 || !decoding || this.#claims.length > 0) return 1;
    const left = parts.map(({ lane }) => lane.tokens.length - lane.length);
    return Math.max(1, Math.min(most, ...left));
  }

  #deliver(lane: Lane, tokens: readonly number[]): void {
    for (const token of tokens) {
      lane.tokens[lane.length++] = token;
      const last = lane.length === lane.tokens.length;
      if (lane.sequence.cancelled || !lane.sequence.accept(token, last) || last) {
        this.#end(lane);
        return;
      }
    }
  }

  #count(parts: readonly Part[], repeat: number, seconds: number): void {
    const { times } = this;
    times.steps += repeat;
    const prompt = parts.filter(({ lane, start }) => isPrompt(lane, start));
    if (prompt.length > 0) {
      times.prefillTokens += prompt.reduce((sum, { tokens }) => sum + tokens.length, 0);
      times.prefillSeconds += seconds;
    } else {
      times.decodeTokens += parts.length * repeat;
      times.decodeSeconds += seconds;
    }
  }

  #end(lane: Lane): void {
    if (this.#lanes.delete(lane)) this.#free(lane.place);
  }

  #free({ slot, pages }: Place): void {
    this.#tables.remove(slot);
    this.#pool.release(pages);
  }
}

/** Pages by which the width of a step's block table grows. */
const COLUMN_STEP = 8;

const GREEDY: Sampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  seed: 0,
};

function newLane(sequence: Sequence, place: Place): Lane {
  const { prompt, maxNewTokens } = sequence;
  const tokens = new Int32Array(prompt.length + maxNewTokens);
  tokens.set(prompt);
  return { sequence, place, tokens, length: prompt.length, computed: 0 };
}

function partOf(lane: Lane, start: number, end: number): Part {
  return { lane, start, tokens: lane.tokens.slice(start, end), sampled: end === lane.length };
}

/** Whether a step that starts at this token computes part of the prompt. */
function isPrompt(lane: Lane, start: number): boolean {
  return start < lane.sequence.prompt.length;
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
