/**
 * What runs a graph. Two implementations, `cpu` and `webgpu`, behind one interface that knows
 * nothing of text, prompts or HTTP.
 *
 * @module
 */

import type {
  Bindings,
  DrawDetails,
  Graph,
  Sampling,
  TensorSource,
  TokenLogprobs,
} from "../graph/mod.ts";

/** Names of the executors. */
export type ExecutorKind = "cpu" | "webgpu";

/** How one row of a step is drawn. */
export interface RowDraw extends Sampling, DrawDetails {}

/** The tokens of one step, of one or several sequences, flattened. */
export interface StepRequest {
  /** [T] */
  readonly tokenIds: Int32Array<ArrayBuffer>;
  /** [T] position of each token in its sequence. */
  readonly positions: Int32Array<ArrayBuffer>;
  /** [T] row of the block table of each token's sequence. */
  readonly sequenceIds: Int32Array<ArrayBuffer>;
  /** [S, P] page numbers of each sequence, padded with 0. */
  readonly blockTable: {
    readonly data: Int32Array<ArrayBuffer>;
    readonly sequences: number;
    readonly pages: number;
  };
  /** [R] rows of the step whose logits are wanted. */
  readonly logitsRows: Int32Array<ArrayBuffer>;
  /**
   * `logits` returns them; otherwise one token per row is sampled with these parameters, and is added
   * to the seen tokens of its sequence's row of the block table (see {@linkcode Program.markSeen}).
   */
  readonly want: "logits" | readonly RowDraw[];
  /**
   * Steps to run, each fed with the samples of the one before; 1 unless rows are sequences, and 1
   * with adjustments, allowed tokens or log-probabilities, which are about one draw.
   */
  readonly repeat: number;
  /** Work of the host for which the device need not wait; it is called once, while the step runs. */
  readonly meanwhile?: () => Promise<void>;
  /** Called from time to time by executors that can stop within a step: false ends it with an error. */
  readonly isWanted?: () => boolean;
}

/** What a step gives back. */
export interface StepResult {
  /** [R, V], when logits were wanted. */
  readonly logits?: Float32Array<ArrayBuffer>;
  /**
   * `repeat` lists of R tokens: the samples of the step and of the steps fed with them. -1 stands
   * where the largest logit of a row was not a finite number; the other rows are not affected.
   */
  readonly tokens?: readonly Int32Array<ArrayBuffer>[];
  /** Of each row that asked for them. */
  readonly logprobs?: readonly (TokenLogprobs | undefined)[];
}

/** Time that the device took for one dispatch. */
export interface DispatchTiming {
  /** Name of the kernel, such as `moe_up_gemv`. */
  readonly kernel: string;
  /** Module path of the node it belongs to; empty for sampling. */
  readonly scope: string;
  /** Between its two timestamps. */
  readonly seconds: number;
  /** Bytes of weights that it reads, each counted once. */
  readonly weightBytes: number;
}

/** A graph made ready to run, with its weights and caches in place. */
export interface Program {
  /** Facts for `engine.report`: bytes, buffers, dispatches, choices. JSON-safe. */
  readonly report: Readonly<Record<string, unknown>>;
  /** Sentences about choices that the user should see. */
  readonly notices?: readonly string[];
  /** Value of `repeat` at which steps of one token per sequence run fastest; default 1. */
  readonly preferredRepeat?: number;
  /**
   * Runs one step, then `repeat - 1` more in which each sequence's sample is its next token (this
   * needs one token and one row per sequence).
   */
  step(request: StepRequest): Promise<StepResult>;
  /** Runs a graph by its input and output names: for graphs that are not language models. */
  run(
    inputs: Readonly<Record<string, Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>>>,
    bindings: Bindings,
  ): Promise<Record<string, Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>>>;
  /** Runs such a step and gives the time of each dispatch; undefined where there is no clock. */
  profile?(request: StepRequest): Promise<readonly DispatchTiming[] | undefined>;
  /**
   * Runs such a step and gives the named outputs of the graph instead of logits or tokens, each with
   * its rows for every token of the step.
   */
  outputs(
    request: StepRequest,
    names: readonly string[],
  ): Promise<Record<string, Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>>>;
  /** Such outputs of the step that ran last, at the cost of a copy; none before the first step. */
  recentOutputs(
    names: readonly string[],
  ): Promise<Record<string, Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>>>;
  /** Compiles what later steps would compile when they first need it. */
  warmUp?(): Promise<void>;
  /** Sets the tokens that the repetition penalty of a slot knows. */
  markSeen(slot: number, tokenIds: Int32Array<ArrayBuffer>): void;
  dispose(): void;
}

/** What a program needs besides its graph. */
export interface CompileOptions {
  readonly source: TensorSource;
  /** Tokens of the largest step. */
  readonly maxTokens: number;
  /** Sequences of the largest step. */
  readonly maxSequences: number;
  /** Rows with logits of the largest step; default `maxTokens`. */
  readonly maxRows?: number;
  /** Pages of each cache. */
  readonly pages: number;
  /** Pages of the longest sequence. */
  readonly maxPagesPerSequence: number;
  /**
   * Make steps of every size ready while the weights load, so that none waits for a compiler later;
   * default where compiling does not share its processor with everything else. Otherwise steps of
   * one token are ready, and others when the first of them comes.
   */
  readonly compileAll?: boolean;
  /** Threads that read and convert weights; default by their size and the number of cores. */
  readonly loaders?: number;
  readonly signal?: AbortSignal;
  /** Called while weights are read. */
  readonly onProgress?: (done: { bytes: number; totalBytes: number; weight: string }) => void;
}

/** Runs programs: the CPU, or a GPU. */
export interface Executor {
  /** Where it runs programs. */
  readonly kind: ExecutorKind;
  /** One line for people: the device, or why the CPU was taken. */
  readonly description: string;
  /** @internal */
  compile(graph: Graph, options: CompileOptions): Promise<Program>;
  /** Closes the device and everything on it. */
  dispose(): void;
}
