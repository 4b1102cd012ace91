/**
 * `config.json` of a model folder: both spellings that transformers has used are folded into one,
 * and the values checked by a schema of the architecture.
 *
 * @module
 */

import { z } from "../deps/zod.ts";
import { CheckpointError, nearest } from "../graph/mod.ts";
import { expectationOf } from "./expectation.ts";
import { ropeSchema } from "./rope.ts";

const count = z.int().positive();

/** A token id, several, or none. */
export const tokenIdsSchema = z.union([z.int(), z.array(z.int())], { error: "token ids" }).nullish()
  .transform((ids) => (ids === undefined || ids === null ? [] : [ids].flat()));

/** Keys that every architecture reads, by their names in transformers 5. */
export const baseConfigFields = {
  architectures: z.array(z.string()).min(1),
  model_type: z.string().default(""),
  vocab_size: count,
  hidden_size: count,
  num_hidden_layers: count,
  num_attention_heads: count,
  num_key_value_heads: count,
  head_dim: count.multipleOf(2),
  rms_norm_eps: z.number().positive(),
  max_position_embeddings: count,
  rope_parameters: ropeSchema,
  tie_word_embeddings: z.boolean().default(false),
  bos_token_id: tokenIdsSchema,
  eos_token_id: tokenIdsSchema,
  quantization_config: z.looseObject({ quant_method: z.string() }).nullish(),
};

/** Keys that every mixture of experts reads. */
export const moeConfigFields = {
  num_experts: count,
  num_experts_per_tok: count,
};

/** What every architecture's config has. */
export interface ModelConfig extends z.output<z.ZodObject<typeof baseConfigFields>> {
  readonly num_experts: number;
  readonly num_experts_per_tok: number;
}

const rawSchema = z.record(z.string(), z.unknown());

/** The content of a config.json, one spelling of every key. */
export function normalizeConfig(raw: unknown, file: string): Record<string, unknown> {
  const parsed = rawSchema.safeParse(raw);
  if (!parsed.success) {
    throw new CheckpointError(
      "checkpoint/config",
      `Cannot read config "${file}": expected a JSON object, got ${typeOf(raw)}`,
      { hint: "Download config.json again" },
    );
  }
  const config = dropNulls(parsed.data);
  const heads = config.num_attention_heads;
  return {
    ...config,
    num_experts: config.num_experts ?? config.num_local_experts,
    num_key_value_heads: config.num_key_value_heads ?? heads,
    head_dim: config.head_dim ?? Number(config.hidden_size) / Number(heads),
    dtype: config.dtype ?? config.torch_dtype,
    rope_parameters: ropeOf(config),
  };
}

/** transformers 4 has `rope_theta`, `rope_scaling` and `partial_rotary_factor` side by side. */
function ropeOf(config: Record<string, unknown>): unknown {
  const nested = rawSchema.safeParse(config.rope_parameters ?? config.rope_scaling ?? {});
  if (!nested.success) return config.rope_parameters ?? config.rope_scaling;
  const { type, rope_type = type ?? "default", ...rest } = nested.data;
  return {
    rope_theta: config.rope_theta,
    partial_rotary_factor: config.partial_rotary_factor,
    ...rest,
    rope_type,
  };
}

/** A key with null is as good as absent in every config of transformers. */
function dropNulls(config: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null));
}

/**
 * Checks a normalised config. The error names the first key that does not fit, and the file.
 *
 * @example
 * ```ts
 * import { z } from "../deps/zod.ts";
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
  const { num_experts: experts, num_experts_per_tok: topK } = config;
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
