/**
 * Drawing the next token from the logits of one row. The WebGPU sampler does the same, step by step:
 *
 * 0. What is added to the logits of single tokens; then tokens that are not allowed get -infinity.
 *    Log-probabilities are `l - log Σ exp(l)` of these logits.
 * 1. Repetition penalty on the tokens seen: `l = l > 0 ? l / penalty : l * penalty`.
 * 2. Temperature 0 ends here: the largest logit wins, ties go to the lowest id.
 * 3. `l = l / temperature`; the weight of a token is `w = exp(l - max)`.
 * 4. Top-k keeps `l >= the k-th largest` (ties included); 0 keeps all.
 * 5. Top-p keeps, of those, `l >= t` with the largest t at which the kept weights reach
 *    `topP · (their sum)`; 1 keeps all.
 * 6. Min-p keeps `w >= minP`.
 * 7. Gumbel-max: the token is the argmax over what is kept of `l - log(-log(u))` with
 *    `u = ((h >>> 8) + 0.5) / 2^24` and `h = pcg(seed ^ pcg(position ^ pcg(id)))`; ties go to the
 *    lowest id. `position` is that of the row's token in its sequence.
 *
 * So a draw depends on (seed, position) alone: not on the batch, on chunks or on earlier draws.
 * Logits are rounded to f32 after steps 1 and 3, so that comparisons come out as on a GPU. In f32
 * the `+ 0.5` of step 7 is lost in the upper half: an f32 sampler must keep u below 1.
 *
 * @module
 */

import {
  type DrawDetails,
  KernelError,
  type Sampling,
  type TokenLogprobs,
} from "../../graph/mod.ts";

/**
 * Draws a token from the logits of one row; `position` is that of the row's token in its sequence,
 * `seen` the tokens that the repetition penalty knows.
 *
 * @throws {KernelError} `kernel/logits` when the largest logit is not a number or infinite.
 *
 * @example
 * ```ts
 * import { sampleToken } from "./sample.ts";
 * const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };
 * console.assert(sampleToken(Float32Array.of(1, 3, 2), greedy, 0) === 1);
 * console.assert(sampleToken(Float32Array.of(1, 3, 2), { ...greedy, repetitionPenalty: 2 }, 0, [1]) === 2);
 * ```
 */
export function sampleToken(
  logits: Float32Array,
  options: Sampling,
  position: number,
  seen: Iterable<number> = [],
): number {
  const values = penalized(logits, options.repetitionPenalty, seen);
  const best = argmax(values);
  if (options.temperature === 0) return best;
  for (let i = 0; i < values.length; i++) values[i] /= options.temperature;
  // A temperature so small that f32 overflows leaves no doubt about the winner.
  if (!Number.isFinite(values[best])) return best;
  const threshold = keepThreshold(values, values[best], options);
  let [token, bestScore] = [best, -Infinity];
  for (let id = 0; id < values.length; id++) {
    if (!(values[id] >= threshold)) continue;
    const score = values[id] + gumbel(options.seed, position, id);
    if (score > bestScore) [token, bestScore] = [id, score];
  }
  return token;
}

/** Step 0: the logits that are drawn from, as a copy where anything changes. */
export function adjustLogits(
  logits: Float32Array<ArrayBuffer>,
  { adjust, allowed }: DrawDetails,
): Float32Array<ArrayBuffer> {
  if (!adjust && !allowed) return logits;
  const values = logits.slice();
  adjust?.ids.forEach((id, i) => values[id] += adjust.values[i]);
  for (let id = 0; allowed && id < values.length; id++) {
    if ((allowed[id >>> 5] >>> (id & 31) & 1) === 0) values[id] = -Infinity;
  }
  return values;
}

/** Log-probabilities after step 0: of the token drawn, and of the `count` likeliest. */
export function logprobsOf(values: Float32Array, token: number, count: number): TokenLogprobs {
  const peak = values.reduce((most, value) => Math.max(most, value), -Infinity);
  const total = peak + Math.log(values.reduce((sum, value) => sum + Math.exp(value - peak), 0));
  const ids = [...values.keys()].filter((id) => values[id] > -Infinity);
  const likeliest = ids.sort((a, b) => values[b] - values[a] || a - b).slice(0, count);
  return {
    logprob: values[token] - total,
    top: likeliest.map((id) => ({ token: id, logprob: values[id] - total })),
  };
}

function penalized(logits: Float32Array, penalty: number, seen: Iterable<number>) {
  const values = Float32Array.from(logits);
  if (penalty === 1) return values;
  for (const id of new Set(seen)) {
    const logit = logits[id];
    if (logit !== undefined) values[id] = logit > 0 ? logit / penalty : logit * penalty;
  }
  return values;
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) best = i;
    if (values[i] > values[best]) best = i;
  }
  if (!Number.isFinite(values[best])) {
    throw new KernelError(
      "kernel/logits",
      `Cannot sample a token: expected finite logits, got ${values[best]} for token ${best}`,
      { hint: "Check the weights; compare with the cpu executor if this is another one" },
    );
  }
  return best;
}

/** Smallest value that steps 4 to 6 keep; all three keep everything from some value upwards. */
function keepThreshold(values: Float32Array, max: number, options: Sampling): number {
  const { topK, topP, minP } = options;
  let threshold = -Infinity;
  if (topK > 0 && topK < values.length) threshold = values.toSorted()[values.length - topK];
  if (topP < 1) threshold = Math.max(threshold, nucleus(values, max, threshold, topP));
  if (minP <= 0) return threshold;
  // Weights, not logarithms, are compared, so that ties come out as the definition says.
  for (const value of values.toSorted()) {
    if (value >= threshold && Math.exp(value - max) >= minP) return value;
  }
  return max;
}

/** Step 5: the value at which the largest weights of what is kept reach `topP` of their sum. */
function nucleus(values: Float32Array, max: number, threshold: number, topP: number): number {
  const kept = values.filter((value) => value >= threshold).sort();
  const total = kept.reduceRight((sum, value) => sum + Math.exp(value - max), 0);
  let mass = 0;
  for (const value of kept.toReversed()) {
    mass += Math.exp(value - max);
    if (mass >= topP * total) return value;
  }
  return max;
}

/** A draw from the Gumbel distribution for one token at one position. */
function gumbel(seed: number, position: number, id: number): number {
  const hash = pcg(seed ^ pcg(position ^ pcg(id)));
  return -Math.log(-Math.log(((hash >>> 8) + 0.5) / 2 ** 24));
}

/** PCG-RXS-M-XS-32 as a hash (Jarzynski and Olano, "Hash Functions for GPU Rendering", 2020). */
export function pcg(x: number): number {
  const state = (Math.imul(x, 747796405) + 2891336453) >>> 0;
  const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737) >>> 0;
  return ((word >>> 22) ^ word) >>> 0;
}
