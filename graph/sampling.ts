/**
 * How the next token is drawn from logits. The model's files give defaults, a request overrides them,
 * and the samplers of both executors follow them.
 *
 * @module
 */

import type { Graph } from "./graph.ts";

/** The settings that choose among tokens; a model may bring its own defaults. */
export interface SamplingDefaults {
  /** 0 always takes the most likely token. */
  readonly temperature: number;
  /** Keep the k most likely tokens; 0 keeps all. */
  readonly topK: number;
  /** Keep the most likely tokens that together reach this probability; 1 keeps all. */
  readonly topP: number;
  /** Keep tokens at least this likely relative to the most likely one; 0 keeps all. */
  readonly minP: number;
  /** Logits of tokens seen before are divided by this when positive, multiplied when negative; 1 is off. */
  readonly repetitionPenalty: number;
}

/** Settings of one sequence. */
export interface Sampling extends SamplingDefaults {
  /** u32; the draw for position p depends on (seed, p) alone. */
  readonly seed: number;
}

/** Always the most likely token, out of all. */
export const GREEDY: Sampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repetitionPenalty: 1,
  seed: 0,
};

/** What a sampler says about one draw; absent parts change nothing. */
export interface DrawRule {
  /** `[ceil(V / 32)]`: bit `id % 32` of word `id / 32` is set for every token that may be drawn. */
  readonly allowed?: Uint32Array<ArrayBuffer>;
  /** Finite numbers that are added to the logits of tokens, by their ids. */
  readonly bias?: ReadonlyMap<number, number>;
}

/** Asked before each draw of one sequence, with the tokens made so far: it should be quick. */
export type DrawRules = (made: readonly number[]) => DrawRule;

/** What a sampler knows of the model. */
export interface SamplerContext {
  /** V: ids of tokens are below this. */
  readonly vocabSize: number;
  /** What each token adds to a text, by its id, empty for special ones; none without a tokenizer. */
  readonly texts: readonly string[];
  /** Tokens that end an answer: one that forbids them all lets no answer end by itself. */
  readonly endTokens: readonly number[];
}

/** A sampler of a graph, with its configuration. */
export interface GraphSampler {
  /** Key of its transform. */
  readonly key: string;
  /** Called once for a deployment; the result once for each sequence, with its prompt. */
  open(context: SamplerContext): (prompt: Int32Array) => DrawRules;
}

const SAMPLERS_META = "samplers";

/** The samplers of a graph, in the order they are asked. */
export function samplersOf(graph: Graph): readonly GraphSampler[] {
  return (graph.meta[SAMPLERS_META] ?? []) as readonly GraphSampler[];
}

/** Adds a sampler: sequences of the deployment ask it before each draw. */
export function addSampler(graph: Graph, sampler: GraphSampler): void {
  graph.setMeta(SAMPLERS_META, [...samplersOf(graph), sampler]);
}

/** What a draw depends on besides its logits and {@linkcode Sampling}; it is about one draw. */
export interface DrawDetails {
  /** What is added to the logits of which tokens before anything else; an id occurs once. */
  readonly adjust?: {
    readonly ids: Int32Array<ArrayBuffer>;
    readonly values: Float32Array<ArrayBuffer>;
  };
  /** `[ceil(V / 32)]`: bit `id % 32` of word `id / 32` is set for every token that may be drawn. */
  readonly allowed?: Uint32Array<ArrayBuffer>;
  /** Number of most likely tokens (0 to 20) to report with the log-probability of the drawn one. */
  readonly logprobs?: number;
}

/** Most tokens that a draw may report. */
export const MOST_LOGPROBS = 20;

/** Whether a draw needs more than its logits and {@linkcode Sampling}. */
export function hasDetails({ adjust, allowed, logprobs }: DrawDetails): boolean {
  return adjust !== undefined || allowed !== undefined || logprobs !== undefined;
}

/** A token and the natural logarithm of its probability. */
export interface TokenLogprob {
  /** Its id. */
  readonly token: number;
  /** In nats, 0 or less. */
  readonly logprob: number;
}

/**
 * Log-probabilities of one draw: of the distribution of the logits after adjustments and with the
 * allowed tokens alone, before repetition penalty, temperature, top-k, top-p and min-p.
 */
export interface TokenLogprobs {
  /** Of the token that was drawn. */
  readonly logprob: number;
  /** The most likely tokens in descending order; of equal ones the lower id first. */
  readonly top: readonly TokenLogprob[];
}
