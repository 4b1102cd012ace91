/**
 * How the next token is drawn from logits. The model's files give defaults, a request overrides them,
 * and the samplers of both executors follow them.
 *
 * @module
 */

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
