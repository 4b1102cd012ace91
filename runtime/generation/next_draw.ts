/**
 * What the draw of a sequence's next token depends on besides the logits: biases, penalties on the
 * tokens made so far, the tokens that a caller allows, and whether log-probabilities are wanted.
 *
 * @module
 */

import { type DrawDetails, RequestError } from "../../graph/mod.ts";
import { showValue } from "./show_value.ts";

/**
 * Says which tokens may come next, given those made so far: a bit mask of `ceil(vocabulary / 32)`
 * words, where bit `id % 32` of word `id / 32` is set for every allowed token, or undefined for all.
 * It is called before each draw, on the thread that drives the device, so it should be quick. End
 * tokens end the generation only where they are allowed.
 */
export type AllowedTokens = (
  made: readonly number[],
) => Uint32Array<ArrayBuffer> | undefined;

/** Options of draws for which the device needs data from the host. */
export interface DrawOptions {
  /** Added to the logits of tokens. */
  readonly logitBias: ReadonlyMap<number, number>;
  /** Subtracted from the logit of every token that was made before. */
  readonly presencePenalty: number;
  /** Subtracted for each time that it was made. */
  readonly frequencyPenalty: number;
  readonly allowedTokens?: AllowedTokens;
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
    const idle = logitBias.size === 0 && presencePenalty === 0 && frequencyPenalty === 0 &&
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
    const adjust = this.#adjustments();
    const allowed = this.#allowed();
    return {
      ...(adjust && { adjust }),
      ...(allowed && { allowed }),
      ...(logprobs !== undefined && { logprobs }),
    };
  }

  #adjustments(): DrawDetails["adjust"] {
    const { logitBias, presencePenalty, frequencyPenalty } = this.options;
    const values = new Map(logitBias);
    if (presencePenalty !== 0 || frequencyPenalty !== 0) {
      for (const [id, count] of this.#counts) {
        const penalty = presencePenalty + frequencyPenalty * count;
        values.set(id, (values.get(id) ?? 0) - penalty);
      }
    }
    if (values.size === 0) return undefined;
    return { ids: Int32Array.from(values.keys()), values: Float32Array.from(values.values()) };
  }

  #allowed(): Uint32Array<ArrayBuffer> | undefined {
    const mask = this.options.allowedTokens?.(this.#made);
    if (mask === undefined) return undefined;
    const words = Math.ceil(this.vocabSize / 32);
    if (!(mask instanceof Uint32Array) || mask.length !== words) {
      throw wrongMask(`a Uint32Array of ${words} words or undefined`, showValue(mask));
    }
    const rest = this.vocabSize % 32;
    const last = rest === 0 ? 0xffffffff : 2 ** rest - 1;
    const some = mask.some((word, i) => (i === words - 1 ? word & last : word) !== 0);
    if (!some) throw wrongMask("at least one token", "none");
    return mask;
  }
}

function wrongMask(expected: string, got: string): RequestError {
  return new RequestError(
    "request/allowed-tokens",
    `Cannot draw a token: expected "allowedTokens" to allow ${expected}, got ${got}`,
  );
}
