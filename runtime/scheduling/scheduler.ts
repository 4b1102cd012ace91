/**
 * Which sequences run. They share steps: each one that is decoding adds a token, prompts are
 * computed in chunks beside them, and those that wait enter when there is a row of the block table
 * and pages for what they have so far. Further pages are taken as a sequence grows; when none is
 * left the youngest sequence loses its own, waits, and is computed again. `docs/scheduling.md` has
 * the rules.
 *
 * @module
 */

import { GREEDY, hasDetails, invariant } from "../../graph/mod.ts";
import { yieldToEventLoop } from "../event_loop.ts";
import type { Program, RowDraw, StepRequest, StepResult } from "../executor.ts";
import { type Place, Places } from "./places.ts";
import { queueFull } from "./request_errors.ts";
import { type Counters, type SchedulerStats, zeroCounters } from "./scheduler_stats.ts";
import { brokenLogits, type Sequence, SequenceState } from "./sequence.ts";
import type { StepLimits } from "./step_limits.ts";
import {
  flatten,
  isPrompt,
  isSampled,
  type Share,
  shareTokens,
  wholeSequence,
} from "./step_plan.ts";
import { type Entry, WaitingLine } from "./waiting_line.ts";

/** Runs sequences over one program. */
export class Scheduler {
  readonly counters: Counters = zeroCounters();
  readonly places: Places;
  readonly #line = new WaitingLine();
  /**
   * Sequences whose readers are behind. The scheduler holds them weakly: one without a reader is
   * collected as garbage, and it has neither a row nor a page.
   */
  readonly #resting = new WeakMap<Sequence, SequenceState>();
  /** Tokens were handed over whose text is still to be made. */
  readonly #unflushed = new Set<Sequence>();
  readonly #jobs = new Set<Promise<unknown>>();
  #arrivals = 0;
  #running = false;
  #closed: { readonly error: unknown } | undefined;
  #pump: Promise<void> = Promise.resolve();

  constructor(readonly program: Program, readonly limits: StepLimits) {
    invariant(
      limits.maxTokens >= limits.maxSequences && limits.maxRows >= limits.maxSequences,
      `steps of ${limits.maxTokens} tokens for ${limits.maxSequences} sequences`,
    );
    this.places = new Places(limits);
  }

  /** A snapshot of queue, pages and counters. */
  get stats(): SchedulerStats {
    const { pages, pageSize, maxSequences } = this.limits;
    const { pool: { used, remembered }, active } = this.places;
    return {
      running: active.size,
      maxRunning: maxSequences,
      waiting: this.#line.length,
      pages: { total: pages, used, free: pages - used, remembered, tokens: pageSize },
      ...this.counters,
    };
  }

  /** Queues a sequence; it runs when there is room. A full queue is a RequestError. */
  add(sequence: Sequence): void {
    if (this.#closed) throw this.#closed.error;
    this.#checkRoom();
    this.#wait(new SequenceState(sequence, this.#arrivals++), false);
    this.wake();
  }

  #checkRoom(): void {
    const most = this.limits.maxWaiting ?? Infinity;
    if (this.#line.newcomers < most) return;
    this.#admit();
    const waiting = this.#line.newcomers;
    if (waiting < most) return;
    this.counters.refused++;
    throw queueFull(waiting, most);
  }

  /** Continues after a reader has caught up, or a sequence was cancelled. */
  wake(sequence?: Sequence): void {
    const state = sequence && this.#resting.get(sequence);
    if (state) {
      this.#resting.delete(state.sequence);
      if (this.#closed) state.sequence.fail(this.#closed.error);
      this.#wait(state, true);
    }
    if (this.#running) return;
    this.#running = true;
    this.#pump = this.#run();
  }

  /** Ends every sequence with this error; the step under way is not waited for where it can stop. */
  async close(error: unknown): Promise<void> {
    this.#closed = { error };
    this.#failAll(error);
    this.wake();
    await Promise.allSettled(this.#jobs);
    await this.idle();
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  /** Resolves when no step is running. */
  async idle(): Promise<void> {
    while (this.#running) await this.#pump;
  }

  /** Runs work with a row and pages of its own; {@linkcode Scheduler.close} waits for it. */
  inPlace<Result>(tokens: number, work: (place: Place) => Promise<Result>): Promise<Result> {
    return this.inPlaces(1, tokens, ([place]) => work(place));
  }

  /** The same with several such places, which are taken at once: jobs never wait for each other's. */
  inPlaces<Result>(
    count: number,
    tokens: number,
    work: (places: readonly Place[]) => Promise<Result>,
  ): Promise<Result> {
    const job = (async () => {
      const places = await this.#claim(count, tokens);
      try {
        return await work(places);
      } finally {
        for (const place of places) this.places.release(place);
        this.wake();
      }
    })();
    return this.untilDone(job);
  }

  /** Has {@linkcode Scheduler.close} wait for work that needs no place. */
  untilDone<Result>(job: Promise<Result>): Promise<Result> {
    this.#jobs.add(job);
    return job.finally(() => this.#jobs.delete(job));
  }

  #claim(count: number, tokens: number): Promise<readonly Place[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly Place[]>();
    this.#line.join({
      arrival: this.#arrivals++,
      cancelled: false,
      ranBefore: false,
      enter: () => {
        const places = this.places.take(count, tokens);
        if (places) resolve(places);
        return places ? "entered" : "full";
      },
      fail: reject,
    });
    this.wake();
    return promise;
  }

  #wait(state: SequenceState, ranBefore: boolean): void {
    const { sequence, arrival } = state;
    this.#line.join({
      arrival,
      ranBefore,
      get cancelled() {
        return sequence.cancelled;
      },
      enter: () => this.#enter(state),
      fail: (error) => sequence.fail(error),
    });
  }

  #enter(state: SequenceState): Entry {
    const entry = this.places.enter(state);
    if (entry === "entered") {
      this.counters.promptTokens += state.length;
      this.counters.reusedTokens += state.computed;
      state.sequence.enter?.(state.computed);
    }
    return entry;
  }

  #admit(): void {
    this.counters.cancelled += this.#line.dropCancelled();
    this.#line.admit();
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        const { failed } = this.counters;
        this.#sweep();
        this.#admit();
        const shares = this.#nextShares();
        if (shares.length > 0) await this.#step(shares);
        else if (this.#unflushed.size > 0) await this.#meanwhile();
        else if (this.counters.failed === failed) break;
      }
    } catch (error) {
      this.#failAll(error);
      this.#sweep();
    }
    // Nothing may come between finding no work and this line, or a call of wake() would be lost.
    this.#running = false;
  }

  /** Ends everything that runs or waits. Rows and pages come back with the next sweep. */
  #failAll(error: unknown): void {
    this.#flush();
    for (const { sequence } of this.places.active) sequence.fail(error);
    this.#line.failAll(error);
  }

  /** Removes sequences that were cancelled, and sets aside those whose readers are behind. */
  #sweep(): void {
    for (const state of this.places.active) {
      const { sequence } = state;
      if (sequence.cancelled) {
        this.counters.cancelled++;
        this.places.leave(state);
      } else if (!sequence.wantsTokens) {
        this.places.leave(state);
        this.#resting.set(sequence, state);
      }
    }
  }

  #nextShares(): Share[] {
    const { active } = this.places;
    const [first] = active;
    if (!first) return [];
    if (!this.limits.recompute) {
      return this.#withDraws(shareTokens([...active], this.limits.maxTokens));
    }
    // The others run in later steps.
    active.delete(first);
    active.add(first);
    return this.#withDraws([wholeSequence(first)]);
  }

  /** Asks sequences how their next token is drawn; one that does not know fails alone. */
  #withDraws(shares: readonly Share[]): Share[] {
    return shares.flatMap((share) => {
      if (!isSampled(share)) return [share];
      const { sequence } = share.state;
      if (!sequence.nextDraw) return [{ ...share, draw: sequence.sampling }];
      try {
        return [{ ...share, draw: { ...sequence.sampling, ...sequence.nextDraw() } }];
      } catch (error) {
        this.#fail(share.state, error);
        return [];
      }
    });
  }

  async #step(wanted: readonly Share[]): Promise<void> {
    const { shares, repeat } = this.#claimPages(wanted);
    if (shares.length === 0) return;
    const started = performance.now();
    let result: StepResult;
    try {
      result = await this.program.step(this.#request(shares, repeat));
    } catch (error) {
      for (const { state } of shares) if (!state.sequence.cancelled) this.#fail(state, error);
      return;
    }
    this.#count(shares, repeat, (performance.now() - started) / 1000);
    let row = 0;
    for (const { state, end, draw } of shares) {
      if (!this.limits.recompute) state.computed = end + repeat - 1;
      if (draw) this.#deliver(state, result, row++);
      if (this.places.active.has(state)) this.places.remember(state);
    }
    // A first token goes out before the next step is recorded, which takes some milliseconds.
    if (shares.some((share) => isPrompt(share) && share.draw)) await this.#meanwhile();
  }

  /** Takes the pages that a step needs; the youngest sequences give theirs where none is free. */
  #claimPages(wanted: readonly Share[]): { shares: readonly Share[]; repeat: number } {
    const wish = this.#repeat(wanted);
    if (this.limits.recompute) return { shares: wanted, repeat: 1 };
    const repeat = this.places.haveRoom(wanted, wish) ? wish : 1;
    const { active } = this.places;
    for (const share of wanted.toSorted((a, b) => a.state.arrival - b.state.arrival)) {
      while (active.has(share.state) && !this.places.grow(share, repeat)) this.#preempt();
    }
    return { shares: wanted.filter(({ state }) => active.has(state)), repeat };
  }

  /** The youngest sequence loses its place and waits for another. */
  #preempt(): void {
    const youngest = [...this.places.active].reduce((a, b) => a.arrival > b.arrival ? a : b);
    this.counters.preemptions++;
    this.places.leave(youngest);
    this.#wait(youngest, true);
  }

  #request(shares: readonly Share[], repeat: number): StepRequest {
    const rows: number[] = [];
    const want: RowDraw[] = [];
    let [tokens, longest] = [0, 0];
    for (const { state, start, end, draw } of shares) {
      tokens += end - start;
      longest = Math.max(longest, end);
      if (!draw) continue;
      rows.push(tokens - 1);
      want.push(draw);
      if (draw.repetitionPenalty !== 1) this.#markSeen(state);
    }
    // A step makes at least one row; in the middle of a prompt it is not used.
    if (rows.length === 0) {
      rows.push(tokens - 1);
      want.push(GREEDY);
    }
    return {
      ...flatten(shares.map(runOf)),
      blockTable: this.places.table(longest + repeat - 1),
      logitsRows: Int32Array.from(rows),
      want,
      repeat,
      meanwhile: () => this.#meanwhile(),
      isWanted: () => shares.some(({ state }) => !state.sequence.cancelled),
    };
  }

  /** Tells the program what a sequence consists of; from here on it adds the samples itself. */
  #markSeen(state: SequenceState): void {
    if (state.marked || state.slot === undefined) return;
    this.program.markSeen(state.slot, state.tokens.slice(0, state.length));
    state.marked = true;
  }

  /** Text of the last step is made, and readers, timers and sockets have a turn, beside this one. */
  async #meanwhile(): Promise<void> {
    this.#flush();
    await yieldToEventLoop();
  }

  #flush(): void {
    for (const sequence of this.#unflushed) flushOne(sequence);
    this.#unflushed.clear();
  }

  /**
   * Steps to run without looking at their tokens: when all only decode, and draws depend on nothing
   * that the host has to say. Those that wait do so for the end of others, some steps later at most.
   */
  #repeat(shares: readonly Share[]): number {
    const most = this.program.preferredRepeat ?? 1;
    if (most === 1 || !shares.every((share) => share.state.decoding && isSimple(share.draw))) {
      return 1;
    }
    return Math.max(1, Math.min(most, ...shares.map(({ state }) => state.left)));
  }

  #deliver(state: SequenceState, { tokens, logprobs }: StepResult, row: number): void {
    invariant(tokens, "the program gave no tokens");
    const { sequence } = state;
    for (const { [row]: token } of tokens) {
      if (sequence.cancelled) return;
      if (token < 0) return this.#fail(state, brokenLogits());
      state.tokens[state.length++] = token;
      this.counters.generatedTokens++;
      if (sequence.flush) this.#unflushed.add(sequence);
      const last = state.left === 0;
      let goesOn;
      try {
        goesOn = sequence.accept(token, last, logprobs?.[row]);
      } catch (error) {
        return this.#fail(state, error);
      }
      if (goesOn && !last) continue;
      this.counters.finished++;
      this.places.remember(state);
      this.places.leave(state);
      return;
    }
  }

  #count(shares: readonly Share[], repeat: number, seconds: number): void {
    const { counters } = this;
    counters.steps += repeat;
    const prompts = shares.filter(isPrompt);
    if (prompts.length > 0) {
      counters.prefillTokens += prompts.reduce((sum, { start, end }) => sum + end - start, 0);
      counters.prefillSeconds += seconds;
    } else {
      counters.decodeTokens += shares.length * repeat;
      counters.decodeSeconds += seconds;
    }
  }

  #fail(state: SequenceState, error: unknown): void {
    this.counters.failed++;
    if (this.#unflushed.delete(state.sequence)) flushOne(state.sequence);
    state.sequence.fail(error);
    this.places.leave(state);
  }
}

function runOf({ state, start, end }: Share) {
  invariant(state.slot !== undefined, "a sequence of a step has a row");
  return { tokens: state.tokens.subarray(start, end), start, slot: state.slot };
}

/** An error while text is made ends its sequence and no other. */
function flushOne(sequence: Sequence): void {
  try {
    sequence.flush?.();
  } catch (error) {
    sequence.fail(error);
  }
}

/** Whether a draw depends on the logits and its position alone. */
function isSimple(draw: RowDraw | undefined): boolean {
  return draw !== undefined && !hasDetails(draw);
}
