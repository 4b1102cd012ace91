/**
 * The queue between the scheduler, which fills it with tokens, and the reader of a generation.
 *
 * @module
 */

import type { TokenLogprobs } from "../../graph/mod.ts";
import type { OutputParser, OutputPart, ToolCall } from "../../models/mod.ts";
import type { ResolvedOptions } from "./generate_options.ts";
import type { NextDraw } from "./next_draw.ts";
import { aborted, timedOut } from "../scheduling/request_errors.ts";
import type { Sequence } from "../scheduling/sequence.ts";
import { type DecodeTokens, TextStream } from "./text_stream.ts";

/** One token and the text that became certain with it. */
export interface Piece {
  /** Its id. */
  readonly token: number;
  /** May be empty: half a character, the beginning of a stop string, a special token. */
  readonly text: string;
  /** Text of what the model thinks before it answers, in chats of models that mark it. */
  readonly reasoning?: string;
  /** Calls of tools that are complete with this token, in chats of models that mark them. */
  readonly toolCalls?: readonly ToolCall[];
  /** With the option `logprobs`. */
  readonly logprobs?: TokenLogprobs;
}

/** How the tokens of an answer become text, and the text its parts. */
export interface AnswerReading {
  readonly decode: DecodeTokens;
  /** Absent when all of the answer is text. */
  readonly parser?: OutputParser;
}

/** Why a generation ended: an end token or stop string, or no more tokens allowed. */
export type FinishReason = "stop" | "length";

/** Pieces that wait for a reader before the sequence gives its place to others. */
const MOST_UNREAD = 64;

const NOTHING = { text: "", stopped: false };

/** A token that the sequence took, before it is text. */
interface Taken {
  readonly token: number;
  /** It is an end token, and has no text. */
  readonly ends: boolean;
  readonly last: boolean;
  readonly logprobs?: TokenLogprobs;
}

/** A sequence of one reader. */
export class PieceQueue implements Sequence {
  readonly maxNewTokens: number;
  readonly sampling: Sequence["sampling"];
  readonly nextDraw: Sequence["nextDraw"];
  finishReason: FinishReason | undefined;
  /** Tokens of the prompt that the cache had when the sequence got its first place. */
  reusedTokens: number | undefined;
  readonly #text: TextStream;
  readonly #taken: Taken[] = [];
  readonly #unread: Piece[] = [];
  #waiting: PromiseWithResolvers<Piece | undefined> | undefined;
  #ended = false;
  #error: { readonly error: unknown } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #onAbort = whileAlive(new WeakRef<PieceQueue>(this), PieceQueue.#abort);

  constructor(
    readonly prompt: Int32Array<ArrayBuffer>,
    readonly options: ResolvedOptions,
    readonly reading: AnswerReading,
    readonly draw: NextDraw | undefined,
    /** Tells the scheduler that the reader has caught up, or is gone. */
    readonly wake: (queue: PieceQueue) => void,
  ) {
    this.maxNewTokens = options.maxNewTokens;
    this.sampling = options.sampling;
    this.nextDraw = draw && (() => draw.next());
    this.#text = new TextStream((ids) => reading.decode(ids), options.stop);
    const { signal, timeoutMs } = options;
    if (signal?.aborted) this.fail(aborted(signal.reason));
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
    if (timeoutMs === undefined || this.#ended) return;
    this.#timer = setTimeout(
      whileAlive(new WeakRef<PieceQueue>(this), PieceQueue.#expire),
      timeoutMs,
    );
    // A generation without a reader does not keep the process alive.
    Deno.unrefTimer(Number(this.#timer));
  }

  get wantsTokens(): boolean {
    return !this.#ended && this.#unread.length + this.#taken.length < MOST_UNREAD;
  }

  get cancelled(): boolean {
    return this.#ended;
  }

  enter(reusedTokens: number): void {
    this.reusedTokens ??= reusedTokens;
  }

  accept(token: number, last: boolean, logprobs?: TokenLogprobs): boolean {
    const ends = this.options.endTokens.has(token);
    this.draw?.add(token);
    this.#taken.push({ token, ends, last, ...(logprobs && { logprobs }) });
    // Whether a stop string has come must be known before the next step.
    if (this.options.stop.length > 0) this.flush();
    return !ends && !this.#ended;
  }

  flush(): void {
    for (const { token, ends, last, ...rest } of this.#taken.splice(0)) {
      if (this.#ended) return;
      const { text, stopped } = ends ? NOTHING : this.#text.push(token);
      const over = ends || stopped || last;
      const parts = this.#split(over ? text + this.#text.flush() : text, over);
      this.#give({ token, ...parts, ...rest });
      if (over) this.#finish(ends || stopped ? "stop" : "length");
    }
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
    this.wake(this);
  }

  /** The next piece, or undefined after the last one. */
  take(): Promise<Piece | undefined> {
    const piece = this.#unread.shift();
    if (piece) {
      if (!this.#ended && this.#unread.length === MOST_UNREAD / 2) this.wake(this);
      return Promise.resolve(piece);
    }
    if (this.#error) return Promise.reject(this.#error.error);
    if (this.#ended) return Promise.resolve(undefined);
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  /** The parts of a text, and with the last one what was held back. */
  #split(text: string, over: boolean): OutputPart & { readonly text: string } {
    const { parser } = this.reading;
    if (!parser) return { text };
    const part = parser.push(text);
    const rest = over ? parser.end() : {};
    const reasoning = (part.reasoning ?? "") + (rest.reasoning ?? "");
    const toolCalls = [...part.toolCalls ?? [], ...rest.toolCalls ?? []];
    return {
      text: (part.text ?? "") + (rest.text ?? ""),
      ...(reasoning && { reasoning }),
      ...(toolCalls.length > 0 && { toolCalls }),
    };
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

  static #abort(queue: PieceQueue): void {
    queue.#interrupt(aborted(queue.options.signal?.reason));
  }

  static #expire(queue: PieceQueue): void {
    queue.#interrupt(timedOut(queue.options.timeoutMs ?? 0));
  }

  /** Ends at once; pieces that were not read yet are dropped. */
  #interrupt(error: unknown): void {
    if (this.#ended) return;
    this.#unread.length = 0;
    this.fail(error);
    this.wake(this);
  }

  #close(): void {
    this.#ended = true;
    this.#taken.length = 0;
    clearTimeout(this.#timer);
    this.options.signal?.removeEventListener("abort", this.#onAbort);
    if (this.#error) this.#waiting?.reject(this.#error.error);
    else this.#waiting?.resolve(undefined);
    this.#waiting = undefined;
  }
}

/**
 * Calls back while somebody refers to an object: a signal or a timer may live longer than its reader. `call`
 * must be no closure, which would refer to all that is in its scope.
 */
function whileAlive<Held extends object>(
  reference: WeakRef<Held>,
  call: (held: Held) => void,
): () => void {
  return () => {
    const held = reference.deref();
    if (held) call(held);
  };
}
