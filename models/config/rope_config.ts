/**
 * The rotary embedding of a config.json, as transformers' `modeling_rope_utils.py` reads it:
 * `rope_parameters` of transformers 5 or `rope_scaling`, `rope_theta` and `partial_rotary_factor` of
 * transformers 4, with the class's own defaults.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { CheckpointError } from "../../graph/mod.ts";

/** How a family's class reads the rotary embedding. */
export interface RopeReading {
  /** Base where config.json has none. */
  readonly theta: number;
  /**
   * `reads`: the modelling code turns `partial_rotary_factor` of a head; a number is the default of
   * the class. Absent: it turns whole heads whatever the config says. `refuses`: it computes a fraction
   * of a head and turns the whole, which works with whole heads alone.
   */
  readonly partial?: "reads" | "refuses" | number;
  /** The config may give the fraction as `rotary_dim` elements of a head (MiniMax-M2). */
  readonly rotaryDim?: boolean;
  /**
   * `original_max_position_embeddings` counts inside the parameters alone (Phi-MoE); elsewhere one
   * beside them wins.
   */
  readonly ownContext?: boolean;
  /** The class does not read `rope_scaling` of transformers 4. */
  readonly newKeysOnly?: boolean;
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

/** What reading collects: notes, and how one set is read. */
interface Reader {
  readonly file: string;
  readonly config: Raw;
  readonly reading: RopeReading;
  readonly notes: string[];
  /** The set is one of several by layer type. */
  readonly nested: boolean;
}

type Raw = Readonly<Record<string, unknown>>;

const record = z.record(z.string(), z.unknown());

/** The parameters that a config.json means; nulls of its own have been dropped. */
export function readRope(config: Raw, reading: RopeReading, file: string): ReadRope {
  if (reading.byType) return readByType(config, reading, reading.byType, file);
  const notes: string[] = [];
  const given = givenParameters(config, reading, notes);
  const parsed = record.safeParse(given);
  if (!parsed.success) return { parameters: given, notes };
  const nested = (reading.layerTypes ?? []).filter((type) => parsed.data[type] !== undefined);
  const reader = { file, config, reading, notes, nested: nested.length > 0 };
  const one = (of: unknown) => {
    const own = record.safeParse(of);
    return own.success ? fillIn(own.data, reader) : of;
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

/** `rope_scaling` before `rope_parameters`, where the class knows it and it says anything. */
function givenParameters(config: Raw, reading: RopeReading, notes: string[]): unknown {
  const { rope_scaling: scaling, rope_parameters: parameters } = config;
  const parsed = record.safeParse(scaling);
  const says = parsed.success && Object.keys(parsed.data).length > 0;
  if (reading.newKeysOnly) {
    if (says) notes.push("rope_scaling has no effect: this family reads rope_parameters alone");
    return parameters ?? reading.whenMissing ?? {};
  }
  return says ? scaling : parameters ?? scaling ?? reading.whenMissing ?? {};
}

/** Parameters by layer type; a set without layer types means nothing to such a class. */
function readByType(
  config: Raw,
  reading: RopeReading,
  types: NonNullable<RopeReading["byType"]>,
  file: string,
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
  const others = { ...config, rope_theta: undefined };
  const reader = { file, config: others, reading, notes, nested: true };
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
    return [type, fillIn(own, reader)];
  });
  return { parameters: Object.fromEntries(parameters), notes };
}

/** One set of parameters with what the config says elsewhere, and the class's defaults. */
function fillIn(given: Raw, reader: Reader): Raw {
  const { config, reading, notes, nested } = reader;
  const { type, rope_type = type ?? "default", ...rest } = given;
  const {
    partial_rotary_factor: part = config.partial_rotary_factor ?? partOfClass(config, reading),
    truncate,
    ...others
  } = rest;
  const scales = ["llama3", "yarn", "longrope"].includes(String(rope_type));
  const context = config.original_max_position_embeddings;
  const beside = scales && !nested && !reading.ownContext && context !== undefined;
  // transformers looks for truncate beside the sets, never in one of them.
  if (nested && truncate === false) {
    notes.push("truncate has no effect: it is not read inside of a layer type's parameters");
  }
  const parameters = {
    rope_theta: config.rope_theta ?? reading.theta,
    ...(scales && { original_max_position_embeddings: config.max_position_embeddings }),
    ...others,
    ...(!nested && truncate !== undefined && { truncate }),
    ...(beside && { original_max_position_embeddings: context }),
    rope_type,
  };
  if (part === undefined) return parameters;
  const reads = reading.partial === "reads" || typeof reading.partial === "number";
  if (reads || rope_type === "proportional") return { ...parameters, partial_rotary_factor: part };
  if (part === 1) return parameters;
  // The formulas of the other types read the fraction, and the model's heads do not fit then.
  if (rope_type !== "default" || reading.partial === "refuses") throw refusal(reader.file, part);
  notes.push(`partial_rotary_factor ${part} has no effect: this family turns whole heads`);
  return parameters;
}

function refusal(file: string, part: unknown): CheckpointError {
  const got = JSON.stringify(part);
  return new CheckpointError(
    "checkpoint/config-value",
    `Cannot read config "${file}": expected 1 for key "partial_rotary_factor", got ${got}`,
    {
      hint: "Correct the key: this family turns whole heads",
      details: { file, key: "partial_rotary_factor" },
    },
  );
}

/** The fraction of a head that the class turns where the config does not say. */
function partOfClass(config: Raw, { rotaryDim, partial }: RopeReading): number | undefined {
  const elements = rotaryDim ? config.rotary_dim : undefined;
  if (typeof elements === "number") return elements / Number(config.head_dim);
  return typeof partial === "number" ? partial : undefined;
}
