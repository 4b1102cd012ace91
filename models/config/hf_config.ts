/**
 * `config.json` of a model folder, read as transformers reads it: both spellings that it has used
 * are folded into one, missing keys take the defaults of the class, and the values are checked by a
 * schema of the architecture.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { CheckpointError, nearest } from "../../graph/mod.ts";
import type { ClassDefaults } from "./class_defaults.ts";
import { expectationOf } from "./expectation.ts";
import { type RopeParameters, ropeSchema } from "./rope.ts";
import { readRope, type RopeReading } from "./rope_config.ts";

const count = z.int().positive();

/** A token id, several, or none. */
export const tokenIdsSchema: z.ZodType<number[]> = z.union([z.int(), z.array(z.int())], {
  error: "token ids",
}).nullish()
  .transform((ids) => (ids === undefined || ids === null ? [] : [ids].flat()));

/** What {@linkcode baseConfigFields} read: every architecture's keys, by their names in transformers 5. */
export interface BaseModelConfig {
  /** Names of model classes; the first one chooses the architecture. */
  readonly architectures: readonly string[];
  /** Short name of the family. */
  readonly model_type: string;
  /** Tokens that the embedding knows. */
  readonly vocab_size: number;
  /** Elements of a token's vector between layers. */
  readonly hidden_size: number;
  /** Layers. */
  readonly num_hidden_layers: number;
  /** Query heads of a layer. */
  readonly num_attention_heads: number;
  /** Key and value heads; they divide the query heads. */
  readonly num_key_value_heads: number;
  /** Elements of a head, an even number. */
  readonly head_dim: number;
  /** Epsilon of the norms. */
  readonly rms_norm_eps: number;
  /** Tokens of the longest sequence that the model was made for. */
  readonly max_position_embeddings: number;
  /** The rotary embedding. */
  readonly rope_parameters: RopeParameters;
  /** Whether the embedding is the matrix of the logits, too. */
  readonly tie_word_embeddings: boolean;
  /** Tokens that begin a text. */
  readonly bos_token_id: readonly number[];
  /** Tokens that end a text. */
  readonly eos_token_id: readonly number[];
  /** How the checkpoint is quantized, as its tool wrote it. */
  readonly quantization_config?: Readonly<Record<string, unknown>> | null | undefined;
}

/** A schema for each key of a config. */
export type ConfigFields<Config> = { readonly [Key in keyof Config]-?: z.ZodType<Config[Key]> };

/** Keys that every architecture reads, to be spread into the schema of its config. */
export const baseConfigFields: ConfigFields<BaseModelConfig> = {
  architectures: z.array(z.string()).min(1),
  model_type: z.string().default(""),
  vocab_size: count,
  hidden_size: count,
  num_hidden_layers: count,
  num_attention_heads: count,
  num_key_value_heads: count,
  head_dim: count.multipleOf(2),
  rms_norm_eps: z.number().positive().max(1),
  max_position_embeddings: count,
  rope_parameters: ropeSchema,
  tie_word_embeddings: z.boolean().default(false),
  bos_token_id: tokenIdsSchema,
  eos_token_id: tokenIdsSchema,
  quantization_config: z.looseObject({}).nullish(),
};

/** What {@linkcode moeConfigFields} read. */
export interface MoeModelConfig {
  /** Experts of a layer. */
  readonly num_experts: number;
  /** Experts that a token is sent to. */
  readonly num_experts_per_tok: number;
}

/** Keys that every mixture of experts reads. */
export const moeConfigFields: ConfigFields<MoeModelConfig> = {
  num_experts: count,
  num_experts_per_tok: count,
};

/** What every architecture's config has; a dense model has one expert, which is never chosen. */
export interface ModelConfig extends Omit<BaseModelConfig, "rope_parameters"> {
  /** One set of parameters, or one for each layer type. */
  readonly rope_parameters: unknown;
  /** Experts of a layer; absent in dense models. */
  readonly num_experts?: number | undefined;
  /** Experts that a token is sent to. */
  readonly num_experts_per_tok?: number | undefined;
}

const rawSchema = z.record(z.string(), z.unknown());

/** Parts of a model that are not its text, by their keys in a wrapper's config. */
const OTHER_PARTS = ["vision_config", "audio_config", "talker_config", "code2wav_config"];

/**
 * The content of a config.json: that of its `text_config` for a wrapper of several models. transformers
 * writes infinity as `{"__float__": "Infinity"}`.
 */
export function normalizeConfig(raw: unknown, file: string): Record<string, unknown> {
  const parsed = rawSchema.safeParse(raw);
  if (!parsed.success) {
    throw new CheckpointError(
      "checkpoint/config",
      `Cannot read config "${file}": expected a JSON object, got ${typeOf(raw)}`,
      { hint: "Download config.json again" },
    );
  }
  const whole = rawSchema.parse(decodeFloats(parsed.data));
  // Qwen3-Omni: the wrapper of text, images and sound is itself a part of a wrapper.
  const thinker = rawSchema.safeParse(whole.thinker_config);
  const { architectures: _whole, ...others } = whole;
  const config = thinker.success
    ? { ...others, ...thinker.data, architectures: whole.architectures }
    : whole;
  const text = rawSchema.safeParse(config.text_config);
  if (!text.success) return config;
  const { architectures, quantization_config, tie_word_embeddings } = config;
  // The wrapper's class has a key of its own for the head and does not read the text's.
  const isTied = tie_word_embeddings ?? (isTiedWrapper(architectures) ? true : undefined);
  const { tie_word_embeddings: _, ...own } = text.data;
  return {
    ...own,
    eos_token_id: text.data.eos_token_id ?? config.eos_token_id,
    bos_token_id: text.data.bos_token_id ?? config.bos_token_id,
    architectures,
    ...(quantization_config !== undefined && { quantization_config }),
    ...(isTied !== undefined && { tie_word_embeddings: isTied }),
    [LEFT_OUT]: OTHER_PARTS.filter((key) => config[key] !== null && config[key] !== undefined),
  };
}

/** Wrappers that tie the head where their config does not say, whatever the class of the text does. */
const TIED_WRAPPERS = ["Mistral3ForConditionalGeneration"];

function isTiedWrapper(architectures: unknown): boolean {
  return Array.isArray(architectures) && architectures.some((name) => TIED_WRAPPERS.includes(name));
}

/** Key under which {@linkcode normalizeConfig} says which parts of a wrapper it leaves out. */
const LEFT_OUT = "parts_left_out";

function decodeFloats(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(decodeFloats);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  if (entries.length === 1 && entries[0][0] === "__float__") return Number(entries[0][1]);
  return Object.fromEntries(entries.map(([key, each]) => [key, decodeFloats(each)]));
}

/** How an architecture's class reads its config. */
export interface ConfigReading {
  /** Values of keys that config.json leaves out; see {@linkcode classDefaults}. */
  readonly defaults: ClassDefaults;
  /** Our name of a key by the class's own: `{ n_routed_experts: "num_experts" }`. */
  readonly names?: Readonly<Record<string, string>>;
  /** How the class reads its rotary embedding; default whole heads, the base of `defaults`. */
  readonly rope?: Omit<RopeReading, "theta"> & { readonly theta?: number };
}

/** A config with the class's defaults filled in, and what a user should know about it. */
export interface ReadConfig {
  readonly config: Record<string, unknown>;
  readonly notes: readonly string[];
}

/**
 * Fills in what the class fills in. A key with null stays without a value, as in transformers, where
 * the class has no rule of its own for it.
 */
export function readConfig(
  raw: Record<string, unknown>,
  reading: ConfigReading,
  file: string,
): ReadConfig {
  const { defaults, names = {}, rope } = reading;
  const ofClass = underOneName(defaults.fields, defaults);
  const merged = settleNulls({ ...ofClass, ...underOneName(raw, defaults) }, ofClass);
  for (const [theirs, ours] of Object.entries(names)) {
    if (merged[theirs] !== undefined) merged[ours] = merged[theirs];
  }
  const heads = merged.num_attention_heads;
  const read = readRope(merged, { theta: defaults.theta, ...rope }, file);
  const parts = merged[LEFT_OUT];
  delete merged[LEFT_OUT];
  return {
    config: {
      ...merged,
      num_key_value_heads: merged.num_key_value_heads ?? heads,
      head_dim: merged.head_dim ?? Math.floor(Number(merged.hidden_size) / Number(heads)),
      dtype: merged.dtype ?? merged.torch_dtype,
      rope_parameters: read.parameters,
    },
    notes: [
      ...(Array.isArray(parts) && parts.length > 0
        ? [`text alone is loaded: ${parts.join(" and ")} left out`]
        : []),
      ...read.notes,
    ],
  };
}

/**
 * Keys by the names that the class keeps them under. Of two keys for one thing the one that the class
 * does not declare wins: its constructor sets declared ones first, whatever their order in the file.
 */
function underOneName(
  config: Readonly<Record<string, unknown>>,
  { aliases, fields }: ClassDefaults,
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  const entries = Object.entries(config);
  const declared = entries.filter(([key]) => key in fields);
  for (const [key, value] of [...declared, ...entries.filter(([key]) => !(key in fields))]) {
    const kept = aliases[key] ?? key;
    if (value !== null || result[kept] === undefined) result[kept] = value;
  }
  return result;
}

/** Without nulls; one in place of a class's switch counts as false, as None does in Python. */
function settleNulls(
  config: Record<string, unknown>,
  ofClass: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(config).flatMap(([key, value]) =>
      value !== null ? [[key, value]] : typeof ofClass[key] === "boolean" ? [[key, false]] : []
    ),
  );
}

/**
 * Checks a normalised config. The error names the first key that does not fit, and the file.
 *
 * @example
 * ```ts
 * import { z } from "../../deps/zod.ts";
 * import { parseConfig } from "./hf_config.ts";
 * const schema = z.looseObject({ num_experts: z.int() });
 * console.assert(parseConfig(schema, { num_experts: 8 }, "config.json").num_experts === 8);
 * ```
 */
export function parseConfig<Schema extends z.ZodType>(
  schema: Schema,
  config: Record<string, unknown>,
  file: string,
): z.output<Schema> {
  const parsed = schema.safeParse(config, { reportInput: true });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const key = issue.path.join(".");
  if (issue.input === undefined) {
    throw configError(file, key, expectationOf(issue), "none", missingHint(key, config));
  }
  const chosen = issue.code === "invalid_value" || issue.code === "invalid_union";
  throw configError(
    file,
    key,
    expectationOf(issue),
    JSON.stringify(issue.input),
    chosen ? "Other values are not implemented" : "Is it the config of this model?",
  );
}

/** Sizes that every model's parts must agree on. */
export function checkSizes(config: ModelConfig, file: string): void {
  const { num_attention_heads: heads, num_key_value_heads: kvHeads } = config;
  const { num_experts: experts = 1, num_experts_per_tok: topK = 1 } = config;
  const hint = "Is it the config of this model?";
  if (heads % kvHeads !== 0) {
    const expected = `a divisor of num_attention_heads (${heads})`;
    throw configError(file, "num_key_value_heads", expected, String(kvHeads), hint);
  }
  if (topK > experts) {
    const expected = `at most num_experts (${experts})`;
    throw configError(file, "num_experts_per_tok", expected, String(topK), hint);
  }
}

/**
 * Groups of experts, where the class of `schema` reads them: as many experts in each, and no more groups
 * kept than there are. DeepSeek-V2's class reads them by `topk_method`.
 */
export function checkGroups(schema: z.ZodType, config: ModelConfig, file: string): void {
  const read = keysOf(schema);
  const keys: Readonly<Record<string, unknown>> = { ...config };
  const { n_group: count, topk_group: kept, topk_method: method, num_experts: experts } = keys;
  if (!("n_group" in read) || typeof count !== "number" || typeof kept !== "number") return;
  if ("topk_method" in read && method === "greedy") return;
  const hint = "Is it the config of this model?";
  if (Number(experts) % count !== 0) {
    const expected = `a divisor of the number of experts (${experts})`;
    throw configError(file, "n_group", expected, String(count), hint);
  }
  if (kept > count) {
    throw configError(file, "topk_group", `at most n_group (${count})`, String(kept), hint);
  }
}

/** What a schema of an object reads by name, whatever is made of it. */
export function keysOf(schema: z.ZodType): object {
  if (schema instanceof z.ZodPipe && schema.in instanceof z.ZodType) return keysOf(schema.in);
  return "shape" in schema && typeof schema.shape === "object" ? schema.shape ?? {} : {};
}

function configError(file: string, key: string, expected: string, got: string, hint: string) {
  return new CheckpointError(
    got === "none" ? "checkpoint/config-missing-key" : "checkpoint/config-value",
    `Cannot read config "${file}": expected ${expected} for key "${key}", got ${got}`,
    { hint, details: { file, key } },
  );
}

function missingHint(key: string, config: Record<string, unknown>): string {
  const near = nearest(key, Object.keys(config).filter((each) => config[each] !== undefined));
  return near === undefined
    ? `Add "${key}" to config.json; is it the config of this model?`
    : `Add "${key}" to config.json; it has "${near}"`;
}

function typeOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "an array" : `a ${typeof value}`;
}
