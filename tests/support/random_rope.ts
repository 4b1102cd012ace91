/**
 * Random rotary embeddings, and the ways in which a config.json says one: the keys of transformers 5
 * and of 4, inside the parameters and beside them.
 *
 * @module
 */

import type { Dice } from "./dice.ts";

type Config = Record<string, unknown>;

/** Tokens that the models are made for. */
export const CONTEXT = 64;

const SCALING = ["llama3", "yarn", "longrope"];

/** A rotary embedding; `part` is the fraction of a head, where the family reads one. */
export function rope(dice: Dice, rotary: number, part?: number): Config {
  const common = {
    rope_theta: dice.pick([1e4, 5e5, 1e6]),
    ...(part !== undefined && { partial_rotary_factor: part }),
  };
  return { ...common, ...dice.pick([plain, plain, llama3, yarn, yarn, longrope])(dice, rotary) };
}

function plain(dice: Dice): Config {
  return dice.pick<Config>([
    { rope_type: "default" },
    { rope_type: "linear", factor: 2.5 },
    { rope_type: "dynamic", factor: 2 },
  ]);
}

const SHORT = { original_max_position_embeddings: 16 };

function llama3(): Config {
  return { ...SHORT, rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
}

/** Its optional keys come alone and together. */
function yarn(dice: Dice): Config {
  return {
    ...(dice.maybe(0.8) && SHORT),
    ...{ rope_type: "yarn", factor: 4 },
    ...(dice.maybe() && { truncate: dice.maybe() }),
    ...(dice.maybe(0.3) && { attention_factor: dice.pick([1.0, 0.7]) }),
    ...(dice.maybe() && { beta_fast: dice.pick([8, 32]) }),
    ...(dice.maybe() && { beta_slow: dice.pick([1, 2]) }),
    ...(dice.maybe() && { mscale: dice.pick([1.0, 0.707]) }),
    ...(dice.maybe() && { mscale_all_dim: dice.pick([1.0, 0.8]) }),
  };
}

function longrope(dice: Dice, rotary: number): Config {
  const factors = () => Array.from({ length: rotary / 2 }, () => 1 + 3 * dice.number());
  return {
    ...(dice.maybe(0.8) && SHORT),
    ...{ rope_type: "longrope", short_factor: factors(), long_factor: factors() },
    ...(dice.maybe() && { factor: 4 }),
    ...(dice.maybe(0.3) && { attention_factor: dice.pick([1.0, 1.2]) }),
  };
}

/** A rotary embedding of one layer type, without what it would have to know of the head. */
export function ropeOfLayers(dice: Dice): Config {
  const theta = { rope_theta: dice.pick([1e4, 1e6]) };
  return {
    ...theta,
    ...dice.pick<Config>([
      { rope_type: "default" },
      { rope_type: "linear", factor: 2.5 },
      yarn(dice),
      llama3(),
    ]),
  };
}

/**
 * The same rotary embedding as configs of all ages say it; classes that read `rope_parameters` alone, or
 * sets by layer type, have one way.
 */
export function respelled(dice: Dice, config: Config): Config {
  const { rope_parameters: given, ...others } = config;
  if (typeof given !== "object" || given === null || !("rope_type" in given)) return config;
  const { rope_theta, partial_rotary_factor, ...parameters } = given as Config;
  const { rope_type: type, original_max_position_embeddings: context, ...rest } = parameters;
  const beside = {
    rope_theta,
    ...(partial_rotary_factor !== undefined && { partial_rotary_factor }),
  };
  const outside = context !== undefined && SCALING.includes(String(type)) && dice.maybe(0.3);
  const inside = outside || context === undefined
    ? rest
    : { ...rest, original_max_position_embeddings: context };
  const moved = outside ? { original_max_position_embeddings: context } : {};
  switch (dice.from(0, 4)) {
    case 0:
      return config;
    case 1:
      return { ...others, ...beside, ...moved, rope_parameters: { rope_type: type, ...inside } };
    case 2:
      return { ...others, ...moved, rope_scaling: { ...beside, type, rope_type: type, ...inside } };
    default:
      return {
        ...others,
        ...beside,
        ...moved,
        rope_scaling: type === "default" && dice.maybe() ? null : { type, ...inside },
      };
  }
}
