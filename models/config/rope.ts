/**
 * Inverse frequencies of rotary position embeddings, by the formulas of transformers'
 * `modeling_rope_utils.py`, in its precision (float32 tensors).
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { CheckpointError } from "../../graph/mod.ts";

const positive = z.number().positive();

/** What every rotary embedding has. */
export interface RopeBase {
  /** Base of the frequencies. */
  readonly rope_theta: number;
  /** Part of a head that is rotated; default all. */
  readonly partial_rotary_factor?: number | null | undefined;
  /** Keys that single families read. */
  readonly [key: string]: unknown;
}

/** Parameters of a rotary embedding, as `rope_parameters` of a config. */
export type RopeParameters =
  & RopeBase
  & (
    | { readonly rope_type: "default" }
    | { readonly rope_type: "linear"; readonly factor: number }
    | {
      readonly rope_type: "dynamic";
      readonly factor: number;
      /** Longest sequence that will be served: the deployment's, not a key of config.json. */
      readonly served_positions?: number | null | undefined;
    }
    | {
      readonly rope_type: "llama3";
      readonly factor: number;
      readonly low_freq_factor: number;
      readonly high_freq_factor: number;
      readonly original_max_position_embeddings: number;
    }
    | {
      readonly rope_type: "yarn";
      readonly factor?: number | null | undefined;
      readonly original_max_position_embeddings?: number | null | undefined;
      readonly attention_factor?: number | null | undefined;
      readonly beta_fast?: number | null | undefined;
      readonly beta_slow?: number | null | undefined;
      readonly mscale?: number | null | undefined;
      readonly mscale_all_dim?: number | null | undefined;
      readonly truncate: boolean;
    }
    | {
      readonly rope_type: "longrope";
      readonly short_factor: readonly number[];
      readonly long_factor: readonly number[];
      readonly factor?: number | null | undefined;
      readonly attention_factor?: number | null | undefined;
      readonly original_max_position_embeddings: number;
      readonly short_mscale?: number | null | undefined;
      readonly long_mscale?: number | null | undefined;
    }
    | { readonly rope_type: "proportional"; readonly factor?: number | null | undefined }
  );

/** How the frequencies are scaled for contexts longer than the pretrained one. */
export const ropeSchema: z.ZodType<RopeParameters> = z.discriminatedUnion("rope_type", [
  z.looseObject({ rope_type: z.literal("default"), ...common() }),
  z.looseObject({ rope_type: z.literal("linear"), ...common(), factor: positive }),
  z.looseObject({
    rope_type: z.literal("dynamic"),
    ...common(),
    factor: positive,
    served_positions: positive.nullish(),
  }),
  z.looseObject({
    rope_type: z.literal("llama3"),
    ...common(),
    factor: positive,
    low_freq_factor: positive,
    high_freq_factor: positive,
    original_max_position_embeddings: positive,
  }),
  z.looseObject({
    rope_type: z.literal("yarn"),
    ...common(),
    factor: positive.nullish(),
    original_max_position_embeddings: positive.nullish(),
    attention_factor: positive.nullish(),
    beta_fast: positive.nullish(),
    beta_slow: positive.nullish(),
    mscale: z.number().nullish(),
    mscale_all_dim: z.number().nullish(),
    truncate: z.boolean().default(true),
  }),
  z.looseObject({
    rope_type: z.literal("longrope"),
    ...common(),
    short_factor: z.array(positive),
    long_factor: z.array(positive),
    factor: positive.nullish(),
    attention_factor: positive.nullish(),
    original_max_position_embeddings: positive,
    short_mscale: positive.nullish(),
    long_mscale: positive.nullish(),
  }),
  z.looseObject({
    rope_type: z.literal("proportional"),
    ...common(),
    factor: positive.nullish(),
  }),
], { error: "rope_type default, linear, dynamic, llama3, yarn, longrope or proportional" });

function common() {
  return { rope_theta: positive, partial_rotary_factor: positive.max(1).nullish() };
}

/** What is implemented, for the lists of features. */
export const ROPE_TYPES =
  "RoPE: default, linear, dynamic (the base grows with the length), llama3, yarn, longrope";

type Yarn = Extract<RopeParameters, { rope_type: "yarn" }>;
type Llama3 = Extract<RopeParameters, { rope_type: "llama3" }>;
type LongRope = Extract<RopeParameters, { rope_type: "longrope" }>;

/** A rotary embedding as numbers. */
export interface RopeFrequencies {
  /** [rotaryDim / 2]; the angle of pair i at position p is p · inverse[i]. */
  readonly inverse: Float32Array<ArrayBuffer>;
  /** Leading elements of a head that are rotated. */
  readonly rotaryDim: number;
  /** Factor on cos and sin. */
  readonly attentionScaling: number;
}

/**
 * Frequencies of a head of `headDim` elements. `dynamic` is exact up to `maxPositions`, where
 * transformers begins to change the base with the length; `longrope` takes its long factors for
 * sequences of up to `length` tokens when that is more than the pretrained length.
 *
 * @example
 * ```ts
 * import { ropeFrequencies } from "./rope.ts";
 * const rope = ropeFrequencies({ rope_type: "default", rope_theta: 10000 }, 4, 512);
 * console.assert(rope.inverse[0] === 1 && rope.inverse[1] === Math.fround(0.01));
 * ```
 */
export function ropeFrequencies(
  parameters: RopeParameters,
  headDim: number,
  maxPositions: number,
  length = 0,
): RopeFrequencies {
  const frequencies = frequenciesOf(parameters, headDim, maxPositions, length);
  checkFrequencies(frequencies, parameters, Math.max(maxPositions, length));
  return frequencies;
}

/** Angles from here on have no fraction in f32, so cosines of them mean nothing. */
const LARGEST_ANGLE = 2 ** 25;

/** Parameters may be numbers and give none: a base of 1 in yarn, a factor of 1e-300. */
function checkFrequencies(
  { inverse, attentionScaling }: RopeFrequencies,
  parameters: RopeParameters,
  positions: number,
): void {
  const bad = inverse.findIndex((each) => !(each * positions < LARGEST_ANGLE));
  if (bad < 0 && Number.isFinite(attentionScaling)) return;
  const got = bad < 0 ? `a factor of ${attentionScaling}` : `${inverse[bad]} for pair ${bad}`;
  throw new CheckpointError(
    "checkpoint/config-value",
    `Cannot use rope_parameters ${
      JSON.stringify(parameters).slice(0, 200)
    }: expected frequencies that turn ${positions} positions by less than 2^25, got ${got}`,
    {
      hint: "Check rope_theta and factor in config.json",
      details: { key: "rope_parameters", parameters },
    },
  );
}

function frequenciesOf(
  parameters: RopeParameters,
  headDim: number,
  maxPositions: number,
  length: number,
): RopeFrequencies {
  const { rope_theta: base, partial_rotary_factor: partial } = parameters;
  const part = Math.floor(headDim * (partial ?? 1));
  // Of an odd number the last element has no partner: transformers turns one more, with this period.
  const rotaryDim = 2 * Math.ceil(part / 2);
  const periods = Float32Array.from(
    { length: rotaryDim / 2 },
    (_, i) => base ** Math.fround((2 * i) / part),
  );
  const inverse = periods.map((period) => 1 / period);
  switch (parameters.rope_type) {
    case "default":
    case "dynamic":
      return { inverse, rotaryDim, attentionScaling: 1 };
    case "linear":
      return {
        inverse: inverse.map((each) => each / parameters.factor),
        rotaryDim,
        attentionScaling: 1,
      };
    case "llama3":
      return { inverse: llama3(inverse, parameters), rotaryDim, attentionScaling: 1 };
    case "yarn":
      return { rotaryDim, ...yarn(periods, rotaryDim, parameters, maxPositions) };
    case "longrope":
      return { rotaryDim, ...longRope(periods, parameters, maxPositions, length) };
    case "proportional":
      return {
        inverse: proportional(parameters, headDim),
        rotaryDim: headDim,
        attentionScaling: 1,
      };
  }
}

/** https://arxiv.org/abs/2402.13753 */
function longRope(
  periods: Float32Array<ArrayBuffer>,
  parameters: LongRope,
  maxPositions: number,
  length: number,
) {
  const context = parameters.original_max_position_embeddings;
  const factor = parameters.factor ?? maxPositions / context;
  const factors = length > context ? parameters.long_factor : parameters.short_factor;
  if (factors.length !== periods.length) throw badFactors(factors.length, periods.length);
  return {
    inverse: periods.map((period, i) => 1 / Math.fround(Math.fround(factors[i]) * period)),
    attentionScaling: parameters.attention_factor ??
      (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(context))),
  };
}

function badFactors(got: number, pairs: number): CheckpointError {
  return new CheckpointError(
    "checkpoint/config-value",
    `Cannot use rope_parameters "longrope": expected ${pairs} factors, one for each pair of a head, got ${got}`,
    {
      hint: "Check short_factor and long_factor in config.json",
      details: { key: "rope_parameters", got, pairs },
    },
  );
}

/** The first pairs of the whole head turn, the others stand still (Gemma 4). */
function proportional(
  { rope_theta: base, partial_rotary_factor: part, factor }: RopeParameters & {
    factor?: number | null | undefined;
  },
  headDim: number,
): Float32Array<ArrayBuffer> {
  const turning = Math.floor((part ?? 1) * headDim / 2);
  return Float32Array.from(
    { length: headDim / 2 },
    (_, i) => i < turning ? 1 / base ** Math.fround((2 * i) / headDim) / (factor ?? 1) : 0,
  );
}

/** Long waves are stretched, short ones kept, those between interpolated. */
function llama3(inverse: Float32Array<ArrayBuffer>, parameters: Llama3) {
  const { factor, low_freq_factor: low, high_freq_factor: high } = parameters;
  const context = parameters.original_max_position_embeddings;
  return inverse.map((frequency) => {
    const wavelength = Math.fround(2 * Math.PI / frequency);
    if (wavelength < context / high) return frequency;
    if (wavelength > context / low) return frequency / factor;
    const smooth = Math.fround((context / wavelength - low) / (high - low));
    return (1 - smooth) * frequency / factor + smooth * frequency;
  });
}

/** https://arxiv.org/abs/2309.00071, with DeepSeek's `mscale` and gpt-oss's `truncate`. */
function yarn(
  periods: Float32Array<ArrayBuffer>,
  dim: number,
  parameters: Yarn,
  maxPositions: number,
) {
  const context = parameters.original_max_position_embeddings ?? maxPositions;
  const factor = parameters.factor ?? maxPositions / context;
  const { mscale, mscale_all_dim: mscaleAllDim } = parameters;
  const magnitude = (scale: number) => factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1;
  const attentionScaling = parameters.attention_factor ??
    (mscale && mscaleAllDim ? magnitude(mscale) / magnitude(mscaleAllDim) : magnitude(1));
  const dimOfRotations = (rotations: number) =>
    dim * Math.log(context / (rotations * 2 * Math.PI)) / (2 * Math.log(parameters.rope_theta));
  const first = dimOfRotations(parameters.beta_fast ?? 32);
  const last = dimOfRotations(parameters.beta_slow ?? 1);
  const low = Math.max(parameters.truncate ? Math.floor(first) : first, 0);
  const end = Math.min(parameters.truncate ? Math.ceil(last) : last, dim - 1);
  const high = low === end ? end + 0.001 : end;
  const inverse = periods.map((period, i) => {
    const keep = Math.fround(1 - Math.min(1, Math.max(0, (i - low) / (high - low))));
    return Math.fround(1 / (factor * period)) * (1 - keep) + Math.fround(1 / period) * keep;
  });
  return { inverse, attentionScaling };
}
