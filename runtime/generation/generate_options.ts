/**
 * Options of one generation: checked, and filled from the model's own defaults.
 *
 * @module
 */

import { nearest, RequestError, type Sampling } from "../../graph/mod.ts";
import type { ChatVariables, GenerationConfig } from "../../models/mod.ts";
import { CHAT_RULES } from "./chat_options.ts";
import type { AllowedTokens, DrawOptions } from "./next_draw.ts";
import { showValue } from "./show_value.ts";

/** Options of `engine.generate`. */
export interface GenerateOptions extends Partial<Sampling>, ChatVariables {
  /** Tokens to make at most; default the model's, else 256, within the room that is left. */
  readonly maxNewTokens?: number;
  /** A whole number below 2³²; the same seed draws the same tokens. Default random. */
  readonly seed?: number;
  /**
   * Subtracted from the logit of every token that was made before, from -100 to 100; default 0. Biases
   * and these penalties come before the repetition penalty and the temperature.
   */
  readonly presencePenalty?: number;
  /** Subtracted again for each time that it was made, from -100 to 100; default 0. */
  readonly frequencyPenalty?: number;
  /** Added to the logits of tokens, by their ids: numbers from -100 to 100. */
  readonly logitBias?: Readonly<Record<string, number>> | ReadonlyMap<number, number>;
  /** Which tokens may come next: the hook of constrained decoding. */
  readonly allowedTokens?: AllowedTokens;
  /** Reports log-probabilities with each piece: of its token, and of this many most likely ones, 0 to 20. */
  readonly logprobs?: number;
  /** Texts that end the generation; they are not part of the result. */
  readonly stop?: string | readonly string[];
  /** Go on after an end-of-sequence token. */
  readonly ignoreEos?: boolean;
  /** Milliseconds from the first `next()` on, waiting included, after which an error ends it. */
  readonly timeoutMs?: number;
  /** Ends the generation with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What the model's files say about generating; only the end tokens must be known. */
export type GenerationDefaults =
  & Partial<GenerationConfig>
  & Pick<GenerationConfig, "eosTokenIds">;

/** Options with all defaults filled in. */
export interface ResolvedOptions {
  readonly maxNewTokens: number;
  readonly sampling: Sampling;
  readonly draw: DrawOptions;
  readonly stop: readonly string[];
  readonly endTokens: ReadonlySet<number>;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** What bounds a request. */
export interface RequestBounds {
  readonly promptTokens: number;
  /** Tokens of the longest sequence, prompt and answer together. */
  readonly maxSequenceTokens: number;
  readonly vocabSize: number;
}

const DEFAULT_NEW_TOKENS = 256;

/** What a value must be; `holds` may be asked about anything. */
interface Rule {
  readonly expected: string;
  readonly holds: (value: unknown) => boolean;
}

const wholeNumber = (first: number, last: number) => (value: unknown) =>
  Number.isInteger(value) && isWithin(value, first, last);
const number = (first: number, last: number): Rule => ({
  expected: `a number from ${first} to ${last}`,
  holds: (value) => isWithin(value, first, last),
});

const RULES: { readonly [Name in keyof Required<GenerateOptions>]: Rule } = {
  maxNewTokens: { expected: "a whole number above 0", holds: wholeNumber(1, 2 ** 53) },
  temperature: number(0, 1000),
  topK: { expected: "a whole number from 0", holds: wholeNumber(0, 2 ** 32 - 1) },
  topP: {
    expected: "a number above 0 and at most 1",
    holds: (value) => isWithin(value, 0, 1) && value !== 0,
  },
  minP: number(0, 1),
  // Beyond these bounds logits overflow or vanish, and nothing but them would be left.
  repetitionPenalty: number(0.01, 100),
  presencePenalty: number(-100, 100),
  frequencyPenalty: number(-100, 100),
  seed: { expected: "a whole number from 0 to 4294967295", holds: wholeNumber(0, 2 ** 32 - 1) },
  logitBias: {
    expected: "an object of token ids and numbers, or a Map",
    holds: (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  },
  allowedTokens: { expected: "a function", holds: (value) => typeof value === "function" },
  logprobs: { expected: "a whole number from 0 to 20", holds: wholeNumber(0, 20) },
  stop: {
    expected: "a text or an array of texts that are not empty",
    holds: (value) => (Array.isArray(value) ? value : [value]).every(isText),
  },
  ignoreEos: { expected: "true or false", holds: (value) => typeof value === "boolean" },
  timeoutMs: {
    expected: "a number above 0 and at most 2147483647",
    holds: (value) => isWithin(value, 0, 2 ** 31 - 1) && value !== 0,
  },
  ...CHAT_RULES,
  signal: { expected: "an AbortSignal", holds: (value) => value instanceof AbortSignal },
};

function isWithin(value: unknown, first: number, last: number): boolean {
  return typeof value === "number" && value >= first && value <= last;
}

function isText(value: unknown): boolean {
  return typeof value === "string" && value !== "";
}

/**
 * Checks options and fills them. The bounds limit the new tokens: a given number that does not fit
 * is an error, a default is reduced.
 */
export function resolveOptions(
  options: GenerateOptions,
  defaults: GenerationDefaults,
  bounds: RequestBounds,
): ResolvedOptions {
  checkOptions(options);
  const room = checkRoom(bounds, options.maxNewTokens);
  return {
    maxNewTokens: options.maxNewTokens ??
      Math.min(room, defaults.maxNewTokens ?? DEFAULT_NEW_TOKENS),
    sampling: {
      temperature: options.temperature ?? defaults.temperature ?? 0,
      topK: options.topK ?? defaults.topK ?? 0,
      topP: options.topP ?? defaults.topP ?? 1,
      minP: options.minP ?? defaults.minP ?? 0,
      repetitionPenalty: options.repetitionPenalty ?? defaults.repetitionPenalty ?? 1,
      seed: options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
    },
    draw: {
      logitBias: readBiases(options.logitBias, bounds.vocabSize),
      presencePenalty: options.presencePenalty ?? 0,
      frequencyPenalty: options.frequencyPenalty ?? 0,
      allowedTokens: options.allowedTokens,
      logprobs: options.logprobs,
    },
    stop: typeof options.stop === "string" ? [options.stop] : [...options.stop ?? []],
    endTokens: new Set(options.ignoreEos ? [] : defaults.eosTokenIds),
    timeoutMs: options.timeoutMs,
    signal: options.signal,
  };
}

/** Checks everything that can be said without the prompt: names, types and ranges. */
export function checkOptions(options: unknown): asserts options is GenerateOptions {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new RequestError(
      "request/invalid-option",
      `Cannot generate: expected options as an object, got ${showValue(options)}`,
    );
  }
  for (const name of Object.keys(options)) if (!Object.hasOwn(RULES, name)) throw unknown(name);
  for (const [name, { expected, holds }] of Object.entries(RULES)) {
    const value: unknown = Reflect.get(options, name);
    if (value !== undefined && !holds(value)) throw invalid(name, expected, showValue(value));
  }
}

function unknown(name: string): RequestError {
  const known = Object.keys(RULES);
  const meant = nearest(name, known);
  return new RequestError(
    "request/unknown-option",
    `Cannot generate with option ${showValue(name)}: expected one of ${known.join(", ")}`,
    { hint: meant ? `Did you mean "${meant}"?` : undefined, details: { option: name } },
  );
}

function readBiases(
  biases: GenerateOptions["logitBias"],
  vocabSize: number,
): ReadonlyMap<number, number> {
  const entries = biases instanceof Map ? [...biases] : Object.entries(biases ?? {});
  return new Map(entries.map(([key, bias]: [unknown, unknown]) => {
    const id = typeof key === "string" && /^\d+$/.test(key) ? Number(key) : key;
    if (typeof id !== "number" || !wholeNumber(0, vocabSize - 1)(id)) {
      throw invalid("logitBias", `token ids from 0 to ${vocabSize - 1}`, showValue(key));
    }
    if (typeof bias !== "number" || !isWithin(bias, -100, 100)) {
      throw invalid("logitBias", "numbers from -100 to 100", showValue(bias));
    }
    return [id, bias];
  }));
}

/** Tokens that may be made after the prompt. */
function checkRoom(
  { promptTokens: prompt, maxSequenceTokens: most }: RequestBounds,
  wished: number | undefined,
): number {
  const room = most - prompt;
  if (prompt === 0) {
    throw new RequestError(
      "request/empty-prompt",
      "Cannot generate: expected a prompt of at least 1 token, got 0",
    );
  }
  if (room < 1) {
    throw new RequestError(
      "request/prompt-too-long",
      `Cannot generate: expected a prompt of at most ${most - 1} tokens, got ${prompt}`,
      {
        hint: "Shorten the prompt, or deploy with a larger max_seq_len",
        details: { promptTokens: prompt, maxSequenceTokens: most },
      },
    );
  }
  if (wished !== undefined && wished > room) {
    throw new RequestError(
      "request/too-many-tokens",
      `Cannot generate ${wished} tokens after a prompt of ${prompt}: expected at most ${most} together, got ${
        prompt + wished
      }`,
      {
        hint: "Lower maxNewTokens, or deploy with a larger max_seq_len",
        details: { promptTokens: prompt, maxNewTokens: wished, maxSequenceTokens: most },
      },
    );
  }
  return room;
}

function invalid(option: string, expected: string, got: string): RequestError {
  return new RequestError(
    "request/invalid-option",
    `Cannot generate with option "${option}": expected ${expected}, got ${got}`,
    { details: { option } },
  );
}
