/**
 * The engine: a model that answers. Text, chat messages or token ids go in, tokens and text come
 * out, from a program of either executor.
 *
 * @module
 */

import { RequestError } from "../graph/mod.ts";
import type { ChatMessage } from "../models/mod.ts";
import type { DispatchTiming, ExecutorKind, Program } from "./executor.ts";
import { Generation } from "./generate.ts";
import {
  type GenerateOptions,
  type GenerationDefaults,
  resolveOptions,
} from "./generate_options.ts";
import { Scheduler, type StepLimits } from "./scheduler.ts";

/** What {@linkcode Engine.generate} continues: a text, a chat, or token ids. */
export type Prompt = string | readonly ChatMessage[] | readonly number[] | Int32Array;

/** Between text and token ids. */
export interface TextCodec {
  /** `addSpecialTokens` puts in what the tokenizer's post-processor adds, such as a BOS. */
  encode(text: string, options: { readonly addSpecialTokens: boolean }): ArrayLike<number>;
  /** Text without special tokens. */
  decode(ids: readonly number[]): string;
  /** There is no tokenizer: `encode` and `decode` raise, token ids are run, and have empty text. */
  readonly isTextless?: boolean;
  /** The text of a chat up to where the assistant answers; absent without a chat template. */
  renderChat?(messages: readonly ChatMessage[]): string;
}

/** What an engine is made of. */
export interface EngineParts {
  readonly program: Program;
  readonly codec: TextCodec;
  readonly vocabSize: number;
  readonly limits: StepLimits;
  readonly defaults: GenerationDefaults;
  readonly executor: {
    readonly kind: ExecutorKind;
    /** The device. */
    readonly description: string;
    /** Why this executor. */
    readonly reason: string;
  };
  /** Facts of the deployment for the report, such as the model's name and the transforms. */
  readonly facts?: Readonly<Record<string, unknown>>;
  /** Seconds of the deployment by what was done. */
  readonly seconds?: Readonly<Record<string, number>>;
  /** Frees what the caller made for the engine; the program is disposed before. */
  readonly onClose?: () => void | Promise<void>;
}

/** Speed of one phase. */
export interface PhaseReport {
  readonly tokens: number;
  readonly seconds: number;
  readonly tokensPerSecond: number;
}

/** Everything there is to know about a running engine; JSON-safe. */
export interface EngineReport extends Readonly<Record<string, unknown>> {
  /** The device in words. */
  readonly device: string;
  readonly executor: EngineParts["executor"];
  /** Bytes of weights, caches and activations, where the executor knows them. */
  readonly bytes: unknown;
  /** Facts of the program: buffers, objects, dispatches, kernel choices. */
  readonly program: Readonly<Record<string, unknown>>;
  readonly limits: StepLimits;
  readonly timings: {
    readonly seconds: Readonly<Record<string, number>>;
    readonly prefill: PhaseReport;
    readonly decode: PhaseReport;
    readonly steps: number;
  };
  /** Pages and sequences in use now. */
  readonly load: { readonly pages: number; readonly running: number; readonly waiting: number };
}

/** A model that answers. Made by {@linkcode createEngine}. */
export class Engine implements AsyncDisposable {
  readonly #parts: EngineParts;
  readonly #scheduler: Scheduler;
  #closing: Promise<void> | undefined;

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.#scheduler = new Scheduler(parts.program, parts.limits);
  }

  /**
   * Continues a prompt. Iterates over `{ token, text }`; errors come out of the iteration.
   * Several generations may run at once and share steps.
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    const { codec, defaults } = this.#parts;
    // Stop strings need text, so they raise the tokenizer's error where there is none.
    const textless = codec.isTextless === true && (options.stop ?? []).length === 0;
    const decode = textless ? () => "" : (ids: readonly number[]) => codec.decode(ids);
    return new Generation(this.#scheduler, decode, () => {
      this.#checkOpen();
      const tokens = this.#promptTokens(prompt);
      const most = this.#longest;
      return { prompt: tokens, options: resolveOptions(options, defaults, tokens.length, most) };
    });
  }

  /** Logits of every token of a sequence, `[tokens, vocab]`: row i predicts token i + 1. */
  async logits(tokenIds: readonly number[] | Int32Array): Promise<Float32Array<ArrayBuffer>> {
    this.#checkOpen();
    const tokens = this.#checkTokens(tokenIds);
    if (tokens.length === 0 || tokens.length > this.#longest) {
      throw new RequestError(
        "request/sequence-length",
        `Cannot compute logits: expected 1 to ${this.#longest} tokens, got ${tokens.length}`,
        { hint: "Split the sequence, or deploy with a larger max_seq_len" },
      );
    }
    return await this.#scheduler.logits(tokens);
  }

  /** Token ids of a text, with the special tokens that the tokenizer adds. */
  encode(text: string): Int32Array<ArrayBuffer> {
    return Int32Array.from(this.#parts.codec.encode(text, { addSpecialTokens: true }));
  }

  /** Text of token ids, without special tokens. */
  decode(ids: readonly number[] | Int32Array): string {
    return this.#parts.codec.decode([...ids]);
  }

  /** Compiles kernels for steps of every size now, rather than when the first such step comes. */
  async warmUp(): Promise<void> {
    this.#checkOpen();
    await this.#parts.program.warmUp?.();
  }

  /**
   * Times of the dispatches of one step of `tokens` tokens after `context` others; undefined where
   * the executor has no clock for them.
   */
  profile(tokens = 1, context = 0): Promise<readonly DispatchTiming[] | undefined> {
    this.#checkOpen();
    const most = Math.min(this.#parts.limits.maxTokens, this.#longest - context);
    if (Number.isInteger(tokens) && tokens >= 1 && tokens <= most && context >= 0) {
      return this.#scheduler.profile(tokens, context);
    }
    throw new RequestError(
      "request/step-size",
      `Cannot profile a step: expected 1 to ${most} tokens after ${context}, got ${tokens}`,
    );
  }

  get report(): EngineReport {
    const { executor, program, limits, facts, seconds } = this.#parts;
    const { times, load } = this.#scheduler;
    return {
      ...facts,
      device: executor.description,
      executor,
      bytes: program.report.bytes,
      program: program.report,
      limits,
      timings: {
        seconds: seconds ?? {},
        prefill: phase(times.prefillTokens, times.prefillSeconds),
        decode: phase(times.decodeTokens, times.decodeSeconds),
        steps: times.steps,
      },
      load,
    };
  }

  /** Ends running generations with an error, and frees the device's memory. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.#scheduler.close(closedError());
    this.#parts.program.dispose();
    await this.#parts.onClose?.();
  }

  /** Tokens of the longest sequence that the caches hold. */
  get #longest(): number {
    const { maxSequenceTokens, pages, pageSize } = this.#parts.limits;
    return Math.min(maxSequenceTokens, pages * pageSize);
  }

  #checkOpen(): void {
    if (this.#closing) throw closedError();
  }

  #promptTokens(prompt: Prompt): Int32Array<ArrayBuffer> {
    if (typeof prompt === "string") return this.encode(prompt);
    if (!isChat(prompt)) return this.#checkTokens(prompt);
    const { codec } = this.#parts;
    if (!codec.renderChat) {
      throw new RequestError(
        "request/no-chat-template",
        "Cannot generate from messages: expected a model with a chat template, got one without",
        { hint: "Pass the prompt as a text, in the form the model was trained on" },
      );
    }
    const text = codec.renderChat(prompt);
    // The template writes the special tokens itself.
    return Int32Array.from(codec.encode(text, { addSpecialTokens: false }));
  }

  #checkTokens(ids: readonly number[] | Int32Array): Int32Array<ArrayBuffer> {
    const { vocabSize } = this.#parts;
    const wrong = ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (wrong >= 0) {
      throw new RequestError(
        "request/token-id",
        `Cannot read token ${wrong} of the prompt: expected an id from 0 to ${vocabSize - 1}, got ${
          ids[wrong]
        }`,
      );
    }
    return Int32Array.from(ids);
  }
}

/** Makes an engine of a compiled program and a tokenizer. */
export function createEngine(parts: EngineParts): Engine {
  return new Engine(parts);
}

function isChat(prompt: Exclude<Prompt, string>): prompt is readonly ChatMessage[] {
  return typeof prompt[0] === "object";
}

function phase(tokens: number, seconds: number): PhaseReport {
  return { tokens, seconds, tokensPerSecond: seconds > 0 ? tokens / seconds : 0 };
}

function closedError(): RequestError {
  return new RequestError(
    "request/engine-closed",
    "Cannot use the engine: expected an open one, got a closed one",
    {
      status: 503,
    },
  );
}
