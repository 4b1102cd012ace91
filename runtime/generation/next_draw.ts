/**
 * What the draw of a sequence's next token depends on besides the logits: biases, penalties on the
 * tokens made so far, the tokens that a caller allows, and whether log-probabilities are wanted.
 *
 * @module
 */

import {
  type DrawDetails,
  type DrawRule,
  type DrawRules,
  messageOf,
  RequestError,
} from "../../graph/mod.ts";
import { showValue } from "./show_value.ts";

/**
 * Says which tokens may come next, given those made so far: a bit mask of `ceil(vocabulary / 32)`
 * words, where bit `id % 32` of word `id / 32` is set for every allowed token, or undefined for all.
 * It is called before each draw, on the thread that drives the device, so it should be quick. The mask is
 * read until the next call: sequences that run side by side must not share one. End tokens end the
 * generation only where they are allowed.
 */
export type AllowedTokens = (
  made: readonly number[],
) => Uint32Array<ArrayBuffer> | undefined;

/** Rules of a sampler for one sequence. */
export interface NamedRules {
  /** Key of the sampler, for errors. */
  readonly key: string;
  readonly rules: DrawRules;
}

/** Options of draws for which the device needs data from the host. */
export interface DrawOptions {
  /** Added to the logits of tokens. */
  readonly logitBias: ReadonlyMap<number, number>;
  /** Subtracted from the logit of every token that was made before. */
  readonly presencePenalty: number;
  /** Subtracted for each time that it was made. */
  readonly frequencyPenalty: number;
  readonly allowedTokens?: AllowedTokens;
  /** Samplers of the deployment, by name, in the order they are asked. */
  readonly rules?: readonly NamedRules[];
  /** Number of most likely tokens to report; undefined reports nothing. */
  readonly logprobs?: number;
}

/** Follows the tokens of one sequence. */
export class NextDraw {
  readonly #made: number[] = [];
  readonly #counts = new Map<number, number>();

  private constructor(readonly options: DrawOptions, readonly vocabSize: number) {}

  /** Undefined where draws need nothing from the host, which is faster. */
  static create(options: DrawOptions, vocabSize: number): NextDraw | undefined {
    const { logitBias, presencePenalty, frequencyPenalty, allowedTokens, logprobs } = options;
    const { rules = [] } = options;
    const idle = rules.length === 0 && logitBias.size === 0 && presencePenalty === 0 &&
      frequencyPenalty === 0 &&
      allowedTokens === undefined && logprobs === undefined;
    return idle ? undefined : new NextDraw(options, vocabSize);
  }

  /** A token was made. */
  add(token: number): void {
    this.#made.push(token);
    this.#counts.set(token, (this.#counts.get(token) ?? 0) + 1);
  }

  /** What the next draw depends on; errors of the caller's own function come out of here. */
  next(): DrawDetails {
    const { logprobs } = this.options;
    const said = (this.options.rules ?? []).map(({ key, rules }) => this.#ask(key, rules));
    const adjust = this.#adjustments(said.flatMap(({ bias }) => bias ? [bias] : []));
    const allowed = this.#allowed(said.flatMap(({ allowed }) => allowed ? [allowed] : []));
    return {
      ...(adjust && { adjust }),
      ...(allowed && { allowed }),
      ...(logprobs !== undefined && { logprobs }),
    };
  }

  /** What a sampler says, checked; whatever goes wrong in it names it. */
  #ask(key: string, rules: DrawRules): DrawRule {
    const at = `sampler "${key}"`;
    let rule: DrawRule;
    try {
      rule = rules(this.#made);
    } catch (cause) {
      throw wrongRule(`${at} to give a rule`, `an error: ${messageOf(cause)}`, cause);
    }
    if (typeof rule !== "object" || rule === null) {
      throw wrongRule(`${at} to give an object`, showValue(rule));
    }
    if (rule.allowed) this.#checkMask(rule.allowed, at);
    if (rule.bias !== undefined && !(rule.bias instanceof Map)) {
      throw wrongRule(`${at} to give its bias as a Map`, showValue(rule.bias));
    }
    for (const [id, value] of rule.bias ?? []) {
      if (!Number.isInteger(id) || id < 0 || id >= this.vocabSize) {
        throw wrongRule(`${at} to name token ids from 0 to ${this.vocabSize - 1}`, showValue(id));
      }
      if (!Number.isFinite(value)) {
        throw wrongRule(`${at} to add finite numbers to logits`, showValue(value));
      }
    }
    return rule;
  }

  #adjustments(biases: readonly ReadonlyMap<number, number>[]): DrawDetails["adjust"] {
    const { logitBias, presencePenalty, frequencyPenalty } = this.options;
    const values = new Map(logitBias);
    if (presencePenalty !== 0 || frequencyPenalty !== 0) {
      for (const [id, count] of this.#counts) {
        const penalty = presencePenalty + frequencyPenalty * count;
        values.set(id, (values.get(id) ?? 0) - penalty);
      }
    }
    for (const bias of biases) {
      for (const [id, value] of bias) values.set(id, (values.get(id) ?? 0) + value);
    }
    if (values.size === 0) return undefined;
    return { ids: Int32Array.from(values.keys()), values: Float32Array.from(values.values()) };
  }

  /** The tokens that the caller and every sampler allow; undefined for all. */
  #allowed(masks: readonly Uint32Array<ArrayBuffer>[]): Uint32Array<ArrayBuffer> | undefined {
    const own = this.options.allowedTokens?.(this.#made);
    if (own !== undefined) this.#checkMask(own, '"allowedTokens"');
    const [first, ...rest] = own === undefined ? masks : [own, ...masks];
    if (rest.length === 0) return first;
    const all = first.map((word, i) => rest.reduce((left, mask) => left & mask[i], word));
    this.#checkMask(all, "samplers and constraints together");
    return all;
  }

  #checkMask(mask: unknown, who: string): void {
    const words = Math.ceil(this.vocabSize / 32);
    if (!(mask instanceof Uint32Array) || mask.length !== words) {
      throw wrongRule(
        `${who} to allow a Uint32Array of ${words} words or undefined`,
        showValue(mask),
      );
    }
    const rest = this.vocabSize % 32;
    const last = rest === 0 ? 0xffffffff : 2 ** rest - 1;
    const some = mask.some((word, i) => (i === words - 1 ? word & last : word) !== 0);
    if (!some) throw wrongRule(`${who} to allow at least one token`, "none");
  }
}

function wrongRule(expected: string, got: string, cause?: unknown): RequestError {
  return new RequestError(
    "request/allowed-tokens",
    `Cannot draw a token: expected ${expected}, got ${got}`,
    { cause },
  );
}
