/**
 * Options of one generation: checked, and filled from the model's own defaults.
 *
 * @module
 */

import { nearest, RequestError, type Sampling } from "../graph/mod.ts";
import type { GenerationConfig } from "../models/mod.ts";

/** Options of `engine.generate`. */
export interface GenerateOptions extends Partial<Sampling> {
  /** Tokens to make at most; default the model's, else 256, within the room that is left. */
  readonly maxNewTokens?: number;
  /** A whole number below 2³²; the same seed draws the same tokens. Default random. */
  readonly seed?: number;
  /** Texts that end the generation; they are not part of the result. */
  readonly stop?: string | readonly string[];
  /** Go on after an end-of-sequence token. */
  readonly ignoreEos?: boolean;
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
  readonly stop: readonly string[];
  readonly endTokens: ReadonlySet<number>;
  readonly signal?: AbortSignal;
}

const DEFAULT_NEW_TOKENS = 256;

interface Rule {
  readonly expected: string;
  readonly holds: (value: number) => boolean;
}

const RULES: Readonly<Record<string, Rule>> = {
  maxNewTokens: { expected: "a whole number above 0", holds: (n) => Number.isInteger(n) && n > 0 },
  temperature: { expected: "a number from 0", holds: (n) => Number.isFinite(n) && n >= 0 },
  topK: { expected: "a whole number from 0", holds: (n) => Number.isInteger(n) && n >= 0 },
  topP: { expected: "a number above 0 and at most 1", holds: (n) => n > 0 && n <= 1 },
  minP: { expected: "a number from 0 to 1", holds: (n) => n >= 0 && n <= 1 },
  repetitionPenalty: { expected: "a number above 0", holds: (n) => Number.isFinite(n) && n > 0 },
  seed: {
    expected: "a whole number from 0 to 4294967295",
    holds: (n) => Number.isInteger(n) && n >= 0 && n < 2 ** 32,
  },
};

const OTHER_OPTIONS = ["stop", "ignoreEos", "signal"];

/**
 * Checks options and fills them. `promptTokens` and `maxSequenceTokens` bound the new tokens: a
 * given number that does not fit is an error, a default is reduced.
 */
export function resolveOptions(
  options: GenerateOptions,
  defaults: GenerationDefaults,
  promptTokens: number,
  maxSequenceTokens: number,
): ResolvedOptions {
  checkNames(options);
  for (const [name, { expected, holds }] of Object.entries(RULES)) {
    const value: unknown = Reflect.get(options, name);
    if (value !== undefined && (typeof value !== "number" || !holds(value))) {
      throw invalid(name, expected, JSON.stringify(value));
    }
  }
  const room = maxSequenceTokens - promptTokens;
  checkRoom(room, promptTokens, maxSequenceTokens, options.maxNewTokens);
  const sampling = {
    temperature: options.temperature ?? defaults.temperature ?? 0,
    topK: options.topK ?? defaults.topK ?? 0,
    topP: options.topP ?? defaults.topP ?? 1,
    minP: options.minP ?? defaults.minP ?? 0,
    repetitionPenalty: options.repetitionPenalty ?? defaults.repetitionPenalty ?? 1,
    seed: options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
  };
  return {
    maxNewTokens: options.maxNewTokens ??
      Math.min(room, defaults.maxNewTokens ?? DEFAULT_NEW_TOKENS),
    sampling,
    stop: stopStrings(options.stop),
    endTokens: new Set(options.ignoreEos ? [] : defaults.eosTokenIds),
    signal: options.signal,
  };
}

function checkNames(options: GenerateOptions): void {
  const known = [...Object.keys(RULES), ...OTHER_OPTIONS];
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const meant = nearest(name, known);
    throw new RequestError(
      "request/unknown-option",
      `Cannot generate with option "${name}": expected one of ${known.join(", ")}`,
      { hint: meant ? `Did you mean "${meant}"?` : undefined, details: { option: name } },
    );
  }
}

function stopStrings(stop: GenerateOptions["stop"]): readonly string[] {
  const list = stop === undefined ? [] : typeof stop === "string" ? [stop] : stop;
  for (const text of list) {
    if (typeof text !== "string" || text === "") {
      throw invalid("stop", "texts that are not empty", JSON.stringify(text));
    }
  }
  return list;
}

function checkRoom(room: number, prompt: number, most: number, wished: number | undefined): void {
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
}

function invalid(option: string, expected: string, got: string): RequestError {
  return new RequestError(
    "request/invalid-option",
    `Cannot generate with option "${option}": expected ${expected}, got ${got}`,
    { details: { option } },
  );
}
