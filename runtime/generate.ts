/**
 * One generation: tokens and text as they come, to be read with `for await`.
 *
 * @module
 */

import { RequestError } from "../graph/mod.ts";
import type { ResolvedOptions } from "./generate_options.ts";
import type { Scheduler, Sequence } from "./scheduler.ts";
import { type DecodeTokens, TextStream } from "./text_stream.ts";

/** One token and the text that became certain with it. */
export interface Piece {
  readonly token: number;
  /** May be empty: half a character, the beginning of a stop string, a special token. */
  readonly text: string;
}

/** Why a generation ended: an end token or stop string, or no more tokens allowed. */
export type FinishReason = "stop" | "length";

/** What a generation starts from. */
export interface GenerationStart {
  readonly prompt: Int32Array<ArrayBuffer>;
  readonly options: ResolvedOptions;
}

const NOTHING = { text: "", stopped: false };

/** Pieces that wait for a reader before the sequence waits too. */
const MOST_UNREAD = 64;

/**
 * The tokens of one sequence. Nothing is computed before the first one is asked for; leaving the
 * loop early frees the sequence.
 */
export class Generation implements AsyncIterableIterator<Piece>, AsyncDisposable {
  #sequence: Stream | undefined;
  #closed = false;
  /** The call of `next` that the next one waits for: they run in order, as in an async generator. */
  #previous: Promise<unknown> = Promise.resolve();

  /** `start` checks the request and may throw a {@linkcode RequestError}; it runs once. */
  constructor(
    readonly scheduler: Scheduler,
    readonly decode: DecodeTokens,
    readonly start: () => GenerationStart,
  ) {}

  /** Set once the end is known. */
  get finishReason(): FinishReason | undefined {
    return this.#sequence?.finishReason;
  }

  /** Tokens of the prompt, once the generation has begun. */
  get promptTokens(): number | undefined {
    return this.#sequence?.prompt.length;
  }

  /** The seed in use, which repeats this generation. */
  get seed(): number | undefined {
    return this.#sequence?.sampling.seed;
  }

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

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #begin(): Stream {
    const { prompt, options } = this.start();
    const stream = new Stream(prompt, options, this.decode, () => this.scheduler.wake());
    if (!stream.cancelled) this.scheduler.add(stream);
    return stream;
  }
}

/** The queue between the scheduler, which fills it, and the reader. */
class Stream implements Sequence {
  readonly maxNewTokens: number;
  readonly sampling: Sequence["sampling"];
  finishReason: FinishReason | undefined;
  readonly #text: TextStream;
  readonly #unread: Piece[] = [];
  #waiting: PromiseWithResolvers<Piece | undefined> | undefined;
  #ended = false;
  #error: { readonly error: unknown } | undefined;
  readonly #onAbort = () => this.#abort();

  constructor(
    readonly prompt: Int32Array<ArrayBuffer>,
    readonly options: ResolvedOptions,
    decode: DecodeTokens,
    readonly wake: () => void,
  ) {
    this.maxNewTokens = options.maxNewTokens;
    this.sampling = options.sampling;
    this.#text = new TextStream(decode, options.stop);
    if (options.signal?.aborted) this.#abort();
    else options.signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get wantsTokens(): boolean {
    return !this.#ended && this.#unread.length < MOST_UNREAD;
  }

  get cancelled(): boolean {
    return this.#ended;
  }

  accept(token: number, last: boolean): boolean {
    const ends = this.options.endTokens.has(token);
    const { text, stopped } = ends ? NOTHING : this.#text.push(token);
    const over = ends || stopped;
    this.#give({ token, text: over || last ? text + this.#text.flush() : text });
    if (over || last) this.#finish(over ? "stop" : "length");
    return !over;
  }

  fail(error: unknown): void {
    if (this.#ended) return;
    this.#error = { error };
    this.#close();
  }

  cancel(): void {
    if (this.#ended) return;
    this.#unread.length = 0;
    this.#close();
    this.wake();
  }

  /** The next piece, or undefined after the last one. */
  take(): Promise<Piece | undefined> {
    const piece = this.#unread.shift();
    if (piece) {
      if (!this.#ended && this.#unread.length === MOST_UNREAD / 2) this.wake();
      return Promise.resolve(piece);
    }
    if (this.#error) return Promise.reject(this.#error.error);
    if (this.#ended) return Promise.resolve(undefined);
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  #give(piece: Piece): void {
    if (this.#waiting) this.#waiting.resolve(piece);
    else this.#unread.push(piece);
    this.#waiting = undefined;
  }

  #finish(reason: FinishReason): void {
    this.finishReason = reason;
    this.#close();
  }

  #abort(): void {
    if (this.#ended) return;
    this.#unread.length = 0;
    this.fail(
      new RequestError(
        "request/aborted",
        "Cannot go on generating: expected a live request, got an aborted one",
        {
          status: 499,
          cause: this.options.signal?.reason,
        },
      ),
    );
    this.wake();
  }

  #close(): void {
    this.#ended = true;
    this.options.signal?.removeEventListener("abort", this.#onAbort);
    if (this.#error) this.#waiting?.reject(this.#error.error);
    else this.#waiting?.resolve(undefined);
    this.#waiting = undefined;
  }
}
