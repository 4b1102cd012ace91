/**
 * The engine: a model that answers. Text, chat messages or token ids go in, tokens and text come
 * out, from a program of either executor.
 *
 * @module
 */

import { type DrawRules, RequestError, type WatchedExperts } from "../graph/mod.ts";
import type {
  AnswerDemand,
  ChatMessage,
  ChatVariables,
  TextForm,
  Vocabulary,
} from "../models/mod.ts";
import { chatOptionsOf } from "./generation/chat_options.ts";
import { type EngineReport, type ExecutorReport, phaseReport } from "./engine_report.ts";
import type { DispatchTiming, Program } from "./executor.ts";
import {
  type ExpertLoad,
  expertLoad,
  profileStep,
  recentExpertLoad,
  refuseStep,
  sequenceLogits,
} from "./scheduling/direct_steps.ts";
import { Generation, type GenerationStart } from "./generation/generate.ts";
import {
  checkOptions,
  type GenerateOptions,
  type GenerationDefaults,
} from "./generation/generate_options.ts";
import { type Prompt, PromptReader, type TextCodec } from "./generation/prompt_reader.ts";
import { engineClosed } from "./scheduling/request_errors.ts";
import { Scheduler } from "./scheduling/scheduler.ts";
import { nanLogits } from "./scheduling/sequence.ts";
import type { SchedulerStats } from "./scheduling/scheduler_stats.ts";
import { showValue } from "./generation/show_value.ts";
import { longestSequence, type StepLimits } from "./scheduling/step_limits.ts";

/** A sampler that was opened for the model. */
export interface OpenedSampler {
  readonly key: string;
  /** Called once for each sequence. */
  start(prompt: Int32Array): DrawRules;
}

/** What an engine is made of. */
export interface EngineParts {
  readonly program: Program;
  readonly codec: TextCodec;
  readonly vocabSize: number;
  readonly limits: StepLimits;
  readonly defaults: GenerationDefaults;
  readonly executor: ExecutorReport;
  /** Samplers of the deployment, in the order they are asked; none by default. */
  readonly samplers?: readonly OpenedSampler[];
  /** MoE layers whose choices are outputs of the program; none by default. */
  readonly watchedExperts?: readonly WatchedExperts[];
  /** Facts of the deployment for the report, such as the model's name and the transforms. */
  readonly facts?: Readonly<Record<string, unknown>>;
  /** Seconds of the deployment by what was done. */
  readonly seconds?: Readonly<Record<string, number>>;
  /** Frees what the caller made for the engine; the program is disposed before. */
  readonly onClose?: () => void | Promise<void>;
}

/** A model that answers. Made by {@linkcode createEngine}. */
export class Engine implements AsyncDisposable {
  readonly #parts: EngineParts;
  readonly #scheduler: Scheduler;
  readonly #samplers: readonly OpenedSampler[];
  readonly #reader: PromptReader;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.#scheduler = new Scheduler(parts.program, parts.limits);
    this.#samplers = parts.samplers ?? [];
    this.#reader = new PromptReader(parts.codec, parts.vocabSize);
  }

  /**
   * Continues a prompt. Iterates over `{ token, text }`; errors come out of the iteration, those of
   * the arguments too. Pieces of a chat's answer also have `reasoning` and `toolCalls`, where the
   * model marks them. Several generations may run at once and share steps.
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    return new Generation(this.#scheduler, () => this.#start(prompt, options));
  }

  /**
   * Continues a prompt in `n` ways, 1 to 128: the seeds are `seed`, `seed + 1`, and so on. The prompt
   * is computed once where prefixes are reused, if all are read side by side.
   */
  generateChoices(
    prompt: Prompt,
    { n, ...options }: GenerateOptions & { readonly n: number },
  ): Generation[] {
    if (!Number.isInteger(n) || n < 1 || n > MOST_CHOICES) {
      throw new RequestError(
        "request/invalid-option",
        `Cannot generate with option "n": expected a whole number from 1 to ${MOST_CHOICES}, got ${
          showValue(n)
        }`,
      );
    }
    checkOptions(options);
    const first = options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0];
    return Array.from(
      { length: n },
      (_, i) => this.generate(prompt, { ...options, seed: (first + i) % 2 ** 32 }),
    );
  }

  #start(prompt: Prompt, options: GenerateOptions): GenerationStart {
    this.#checkOpen();
    const { codec, defaults, vocabSize } = this.#parts;
    const planned = { prompt, options };
    const { tokens, answer, resolved } = this.#reader.plan(planned, defaults, this.#longest);
    // Stop strings need text, so they raise the tokenizer's error where there is none.
    const textless = codec.isTextless === true && resolved.stop.length === 0;
    const decode = textless ? () => "" : (ids: readonly number[]) => codec.decode(ids);
    const { draw } = resolved;
    const rules = this.#samplers.map(({ key, start }) => ({ key, rules: start(tokens) }));
    const ruled = { ...resolved, draw: { ...draw, ...(rules.length > 0 && { rules }) } };
    return { prompt: tokens, options: ruled, reading: answer ?? { decode }, vocabSize };
  }

  /** Logits of every token of a sequence, `[tokens, vocab]`: row i predicts token i + 1. */
  async logits(tokenIds: readonly number[] | Int32Array): Promise<Float32Array<ArrayBuffer>> {
    this.#checkOpen();
    const tokens = this.#reader.checkTokens(tokenIds);
    if (tokens.length === 0 || tokens.length > this.#longest) {
      throw new RequestError(
        "request/sequence-length",
        `Cannot compute logits: expected 1 to ${this.#longest} tokens, got ${tokens.length}`,
        { hint: "Split the sequence, or deploy with a larger max_seq_len" },
      );
    }
    const logits = await sequenceLogits(this.#scheduler, tokens);
    if (logits.some(Number.isNaN)) throw nanLogits();
    return logits;
  }

  /** Token ids of a text, with the special tokens that the tokenizer adds. */
  encode(text: string): Int32Array<ArrayBuffer> {
    return this.#reader.encode(text);
  }

  /**
   * Token ids of a prompt as {@linkcode Engine.generate} would read it: chats through the template.
   *
   * @throws {RequestError} for prompts that `generate` refuses.
   */
  promptTokens(prompt: Prompt, wishes: ChatVariables = {}): Int32Array<ArrayBuffer> {
    return this.#reader.read(prompt, wishes).tokens;
  }

  /**
   * What the answer to a chat must look like to be JSON of a schema, or to call tools, in the model's
   * own format: for those who guide its tokens by `allowedTokens`.
   *
   * @throws {RequestError} where the model calls no tools in a form that is known, and for chats that
   *   `generate` refuses.
   * @internal
   */
  answerForm(
    messages: readonly ChatMessage[],
    demand: AnswerDemand,
    options: GenerateOptions = {},
  ): TextForm {
    return this.#reader.render(messages, chatOptionsOf(options)).formOf(demand);
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
   * Seconds of GPU time of each dispatch of one step: `sequences` sequences of `tokens` tokens each, after
   * `context` others in each; undefined where the executor has no clock for them. Each dispatch is timed in a
   * pass of its own, which makes it some microseconds longer. Waits until there is room for such a step.
   *
   * @throws {RequestError} `request/step-size` when the deployment has no steps of that size.
   *
   * @example
   * ```ts
   * import { pipeline } from "../dsl/mod.ts";
   *
   * await using engine = await pipeline().deploy({ model: "demo/storyteller" });
   * const timings = await engine.profile(1, 64, 4); // four sequences decode
   * console.assert(timings === undefined || timings.every(({ seconds }) => seconds >= 0));
   * ```
   */
  async profile(
    tokens = 1,
    context = 0,
    sequences = 1,
  ): Promise<readonly DispatchTiming[] | undefined> {
    this.#checkOpen();
    const { limits, vocabSize } = this.#parts;
    const problem = refuseStep(limits, { tokens, context, sequences });
    if (problem === undefined) {
      return await profileStep(this.#scheduler, { tokens, context, sequences, vocabSize });
    }
    throw new RequestError("request/step-size", `Cannot profile a step: ${problem}`);
  }

  /**
   * How often the first tokens of a prompt, as many as one step holds, choose each expert; empty where
   * the graph does not give its choices (see `watchExperts` of the graph).
   */
  async expertLoad(prompt: Prompt): Promise<readonly ExpertLoad[]> {
    this.#checkOpen();
    const { watchedExperts = [] } = this.#parts;
    const { tokens } = this.#reader.read(prompt, {});
    if (tokens.length === 0 || watchedExperts.length === 0) return [];
    return await expertLoad(this.#scheduler, tokens.subarray(0, this.#longest), watchedExperts);
  }

  /**
   * How often the tokens of the step that ran last chose each expert; empty before the first step, and
   * where the graph does not give its choices (`watchExperts` of `deploy`). It waits for a running step.
   */
  async recentExpertLoad(): Promise<readonly ExpertLoad[]> {
    this.#checkOpen();
    const { watchedExperts = [] } = this.#parts;
    return watchedExperts.length === 0
      ? []
      : await recentExpertLoad(this.#scheduler, watchedExperts);
  }

  /** A snapshot for monitoring: queue, pages, reused prefixes, preemptions, tokens. */
  stats(): SchedulerStats {
    return this.#scheduler.stats;
  }

  /** Ids of tokens are below this. */
  get vocabSize(): number {
    return this.#parts.vocabSize;
  }

  /** What each token adds to a text; undefined without a tokenizer. */
  vocabulary(): Vocabulary | undefined {
    return this.#parts.codec.vocabulary?.(this.#parts.vocabSize);
  }

  /** Tokens that end an answer. */
  get endTokens(): readonly number[] {
    return [...this.#parts.defaults.eosTokenIds];
  }

  /** Tokens of the longest sequence, prompt and answer together. */
  get maxSequenceTokens(): number {
    return this.#longest;
  }

  /** Whether messages can be read: the model has a chat template. */
  get canChat(): boolean {
    return this.#parts.codec.renderChat !== undefined;
  }

  /** Whether `thinking` is an option of its chats: the template has a switch. */
  get canSwitchThinking(): boolean {
    return this.#parts.codec.canSwitchThinking ?? false;
  }

  /** What runs and how fast, at this moment; JSON-safe. */
  get report(): EngineReport {
    const { executor, program, limits, facts, seconds } = this.#parts;
    const stats = this.#scheduler.stats;
    return {
      ...facts,
      device: executor.description,
      executor,
      bytes: program.report.bytes,
      program: program.report,
      limits,
      timings: {
        seconds: seconds ?? {},
        prefill: phaseReport(stats.prefillTokens, stats.prefillSeconds),
        decode: phaseReport(stats.decodeTokens, stats.decodeSeconds),
        steps: stats.steps,
      },
      load: { pages: stats.pages.used, running: stats.running, waiting: stats.waiting },
    };
  }

  /** Ends running generations with an error, and frees the device's memory. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /** Closes the engine at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const { program, onClose } = this.#parts;
    await this.#scheduler.close(engineClosed());
    try {
      program.dispose();
    } finally {
      await onClose?.();
    }
  }

  /** Tokens of the longest sequence that the caches hold. */
  get #longest(): number {
    return longestSequence(this.#parts.limits);
  }

  #checkOpen(): void {
    if (this.#closing) throw engineClosed();
  }
}

/** Most choices of one prompt. */
const MOST_CHOICES = 128;

/** Makes an engine of a compiled program and a tokenizer. */
export function createEngine(parts: EngineParts): Engine {
  return new Engine(parts);
}
