/**
 * What is measured of a whole model, and what comes out; all of it JSON-safe.
 *
 * @module
 */

import type { ModelSizes } from "./model_sizes.ts";
import type { Summary } from "./statistics.ts";
import type { StepTime } from "./token_time.ts";

/** Formats that weights are quantized to while they load. */
export const LOAD_FORMATS = ["fp8_e4m3", "mxfp4", "int8", "int4"] as const;

/** A model and the format of its weights. */
export interface ModelChoice {
  readonly model: ModelSizes;
  /** Of experts and linear layers; absent: as stored. */
  readonly format?: (typeof LOAD_FORMATS)[number];
}

/** What is measured. */
export interface ModelPlan {
  /** Prompts of so many tokens, each continued by so many; the profile has the context of the first. */
  readonly prompts: readonly { readonly tokens: number; readonly answer: number }[];
  readonly rounds: number;
  /** Tokens of the first prompt of all. */
  readonly coldTokens: number;
  readonly streams: readonly number[];
  /** Tokens of each stream's prompt, and of its answer. */
  readonly streamTokens: number;
  /** Most layers; all when absent. */
  readonly layers?: number | undefined;
}

/** A prompt and its answer, alone. */
export interface PromptResult {
  readonly tokens: number;
  readonly answer: number;
  /** Seconds from the request to its first token. */
  readonly firstToken: Summary;
  /** Tokens of the prompt by that time. */
  readonly prefill: Summary;
  /** Tokens per second between the first token and the last, by the clock of whoever reads them. */
  readonly decode: Summary;
  /** Bytes that a token of the middle of the answer must read: weights, keys and values. */
  readonly tokenBytes: number;
}

/** Several answers at once. */
export interface StreamResult {
  readonly streams: number;
  /** Of all answers together. */
  readonly tokensPerSecond: Summary;
}

/** Everything about one model; JSON-safe. */
export interface ModelResult {
  readonly name: string;
  readonly layers: number;
  /** Of the released model, or of its twin. */
  readonly allLayers: number;
  readonly format: string;
  /** On the device. */
  readonly weightBytes: number;
  /** Bytes of weights that a token reads. */
  readonly tokenWeightBytes: number;
  /** Seconds from the call to a model that answers, and what they went to. */
  readonly readySeconds: number;
  readonly seconds: Readonly<Record<string, number>>;
  /** Seconds to the first token of the first request, whose prompt is short. */
  readonly coldTokenSeconds: number | undefined;
  readonly prompts: readonly PromptResult[];
  readonly streams: readonly StreamResult[];
  readonly streamTokens: number;
  /** A step of one token behind the first prompt, and one of that prompt, as far as a step holds it. */
  readonly tokenTime: StepTime | undefined;
  readonly promptTime: StepTime | undefined;
  /** Steps of several sequences with a token each, as many as answers at once were measured. */
  readonly streamTimes: readonly StepTime[];
  /** What could not be measured, with the reason. */
  readonly problems: readonly string[];
}

/** `Qwen3-30B-A3B, int8` */
export function modelTitle({ model: { name }, format }: ModelChoice): string {
  return format ? `${name}, ${format}` : name;
}
