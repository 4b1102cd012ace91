/**
 * The rotary embedding of a config.json, as transformers' `modeling_rope_utils.py` reads it:
 * `rope_parameters` of transformers 5 or `rope_scaling`, `rope_theta` and `partial_rotary_factor` of
 * transformers 4, with the class's own defaults.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";

/** How a family's class reads the rotary embedding. */
export interface RopeReading {
  /** Base where config.json has none. */
  readonly theta: number;
  /**
   * `reads`: the modelling code turns `partial_rotary_factor` of a head; a number is the default of
   * the class. Absent: it turns whole heads whatever the config says.
   */
  readonly partial?: "reads" | number;
  /** The config may give the fraction as `rotary_dim` elements of a head (MiniMax-M2). */
  readonly rotaryDim?: boolean;
  /** Types that the family settles for a length itself. */
  readonly anyLength?: readonly string[];
  /** What the class takes when config.json has no parameters at all. */
  readonly whenMissing?: Readonly<Record<string, unknown>>;
  /** Layer types with parameters of their own. */
  readonly layerTypes?: readonly string[];
  /** The same where each layer type has a key of its own for its base (Gemma 3). */
  readonly byType?: Readonly<Record<string, LayerTypeReading>>;
}

/** What a class does for the rotary embedding of one layer type. */
export interface LayerTypeReading {
  /** Base where config.json has none. */
  readonly theta: number;
  /** Key of transformers 4 for the base. */
  readonly key: string;
  /** `rope_scaling` of transformers 4 is for this type. */
  readonly scaling?: boolean;
}

/** Parameters for the schema, and what a user should know about them. */
export interface ReadRope {
  readonly parameters: unknown;
  readonly notes: readonly string[];
}

type Raw = Readonly<Record<string, unknown>>;

const record = z.record(z.string(), z.unknown());

/** The parameters that a config.json means; nulls of its own have been dropped. */
export function readRope(config: Raw, reading: RopeReading): ReadRope {
  if (reading.byType) return readByType(config, reading, reading.byType);
  const scaling = record.safeParse(config.rope_scaling);
  const given = scaling.success && Object.keys(scaling.data).length > 0
    ? config.rope_scaling
    : config.rope_parameters ?? config.rope_scaling ?? reading.whenMissing ?? {};
  const parsed = record.safeParse(given);
  if (!parsed.success) return { parameters: given, notes: [] };
  const nested = (reading.layerTypes ?? []).filter((type) => parsed.data[type] !== undefined);
  const notes: string[] = [];
  const one = (of: unknown) => {
    const own = record.safeParse(of);
    return own.success ? fillIn(own.data, config, reading, notes) : of;
  };
  if (!reading.layerTypes) return { parameters: one(parsed.data), notes };
  const parameters = Object.fromEntries(
    reading.layerTypes.map((type) => [
      type,
      one(nested.length > 0 ? parsed.data[type] ?? parsed.data[nested[0]] : parsed.data),
    ]),
  );
  return { parameters, notes: [...new Set(notes)] };
}

/** Parameters by layer type; a set without layer types means nothing to such a class. */
function readByType(
  config: Raw,
  reading: RopeReading,
  types: NonNullable<RopeReading["byType"]>,
): ReadRope {
  const notes: string[] = [];
  const sets = record.safeParse(config.rope_parameters ?? {});
  if (!sets.success) return { parameters: config.rope_parameters, notes };
  const ignored = Object.keys(sets.data).filter((key) => !(key in types));
  if (ignored.length > 0) {
    notes.push(
      `${ignored.join(", ")} of rope_parameters has no effect: it has a set for each layer type`,
    );
  }
  const parameters = Object.entries(types).map(([type, { theta, key, scaling }]) => {
    const set = record.safeParse(sets.data[type] ?? {});
    if (!set.success) return [type, sets.data[type]];
    const added = record.safeParse(scaling ? config.rope_scaling ?? {} : {});
    const own = {
      rope_theta: config[key] ?? theta,
      // Such classes begin with a type, which the older key `type` does not change.
      ...(config.rope_parameters === undefined && { rope_type: "default" }),
      ...set.data,
      ...(added.success ? added.data : {}),
    };
    return [type, fillIn(own, { ...config, rope_theta: undefined }, reading, notes)];
  });
  return { parameters: Object.fromEntries(parameters), notes };
}

/** One set of parameters with what the config says elsewhere, and the class's defaults. */
function fillIn(given: Raw, config: Raw, reading: RopeReading, notes: string[]): Raw {
  const { type, rope_type = type ?? "default", ...rest } = given;
  const elements = reading.rotaryDim ? config.rotary_dim : undefined;
  const classPart = typeof elements === "number"
    ? elements / Number(config.head_dim)
    : typeof reading.partial === "number"
    ? reading.partial
    : undefined;
  const { partial_rotary_factor: part = config.partial_rotary_factor ?? classPart, ...others } =
    rest;
  const parameters = {
    rope_theta: config.rope_theta ?? reading.theta,
    ...(["llama3", "yarn", "longrope"].includes(String(rope_type)) && {
      original_max_position_embeddings: config.max_position_embeddings,
    }),
    ...others,
    ...(config.original_max_position_embeddings !== undefined &&
      { original_max_position_embeddings: config.original_max_position_embeddings }),
    rope_type,
  };
  if (part === undefined) return parameters;
  if (reading.partial !== undefined || rope_type === "proportional") {
    return { ...parameters, partial_rotary_factor: part };
  }
  if (part === 1) return parameters;
  // The formulas of the other types read the fraction, and the model's heads do not fit then.
  if (rope_type !== "default") return { ...parameters, partial_rotary_factor: part };
  notes.push(`partial_rotary_factor ${part} has no effect: this family turns whole heads`);
  return parameters;
}
