/**
 * One generation: tokens and text as they come, to be read with `for await`.
 *
 * @module
 */

import type { ToolCall } from "../../models/mod.ts";
import type { ResolvedOptions } from "./generate_options.ts";
import { NextDraw } from "./next_draw.ts";
import { type AnswerReading, type FinishReason, type Piece, PieceQueue } from "./piece_queue.ts";
import type { Scheduler } from "../scheduling/scheduler.ts";

export type { FinishReason, Piece } from "./piece_queue.ts";

/** What a generation starts from. */
export interface GenerationStart {
  readonly prompt: Int32Array<ArrayBuffer>;
  readonly options: ResolvedOptions;
  readonly reading: AnswerReading;
  readonly vocabSize: number;
}

/** All of an answer. */
export interface Message {
  /** The answer, without what the model thought. */
  readonly text: string;
  /** What it thought, where the model marks that; else empty. */
  readonly reasoning: string;
  /** Functions that it calls, in order. */
  readonly toolCalls: readonly ToolCall[];
}

/**
 * The tokens of one sequence. Nothing is computed before the first one is asked for; leaving the
 * loop early frees the sequence. One that is neither read nor left stops some 64 tokens ahead of its
 * reader and gives its place to others; it goes on when it is read again.
 */
export class Generation implements AsyncIterableIterator<Piece>, AsyncDisposable {
  #sequence: PieceQueue | undefined;
  #closed = false;
  /** The call of `next` that the next one waits for: they run in order, as in an async generator. */
  #previous: Promise<unknown> = Promise.resolve();

  readonly #scheduler: Scheduler;
  readonly #start: () => GenerationStart;

  /**
   * `start` checks the request and may throw a {@linkcode RequestError}; it runs once.
   *
   * @internal
   */
  constructor(scheduler: Scheduler, start: () => GenerationStart) {
    this.#scheduler = scheduler;
    this.#start = start;
  }

  /** Set once the end is known. */
  get finishReason(): FinishReason | undefined {
    return this.#sequence?.finishReason;
  }

  /** Tokens of the prompt, once the generation has begun. */
  get promptTokens(): number | undefined {
    return this.#sequence?.prompt.length;
  }

  /**
   * Tokens of the prompt that were not computed, as the cache had them from another sequence that
   * begins alike; undefined until the generation has a place.
   */
  get reusedTokens(): number | undefined {
    return this.#sequence?.reusedTokens;
  }

  /** The seed in use, which repeats this generation. */
  get seed(): number | undefined {
    return this.#sequence?.sampling.seed;
  }

  /** The next piece; throws what the request or the device failed with. */
  next(): Promise<IteratorResult<Piece, undefined>> {
    const result = this.#previous.then(() => this.#next());
    this.#previous = result.catch(() => {});
    return result;
  }

  async #next(): Promise<IteratorResult<Piece, undefined>> {
    if (this.#closed) return { done: true, value: undefined };
    try {
      this.#sequence ??= this.#begin();
      const piece = await this.#sequence.take();
      if (piece) return { done: false, value: piece };
    } catch (error) {
      this.#closed = true;
      throw error;
    }
    this.#closed = true;
    return { done: true, value: undefined };
  }

  /** Ends the generation and frees its place. */
  return(): Promise<IteratorResult<Piece, undefined>> {
    this.#closed = true;
    this.#sequence?.cancel();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** The whole text; reads the generation to its end. */
  async text(): Promise<string> {
    let text = "";
    for await (const piece of this) text += piece.text;
    return text;
  }

  /** The whole answer by its parts; reads the generation to its end. */
  async message(): Promise<Message> {
    const message = { text: "", reasoning: "", toolCalls: new Array<ToolCall>() };
    for await (const piece of this) {
      message.text += piece.text;
      message.reasoning += piece.reasoning ?? "";
      message.toolCalls.push(...piece.toolCalls ?? []);
    }
    return message;
  }

  /** Itself: a generation is read once. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the generation at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #begin(): PieceQueue {
    const { prompt, options, reading, vocabSize } = this.#start();
    const scheduler = this.#scheduler;
    const draw = NextDraw.create(options.draw, vocabSize);
    const queue = new PieceQueue(prompt, options, reading, draw, (each) => scheduler.wake(each));
    try {
      if (!queue.cancelled) scheduler.add(queue);
    } catch (error) {
      queue.fail(error);
    }
    return queue;
  }
}
