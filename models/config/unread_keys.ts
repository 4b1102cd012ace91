/**
 * Keys of a config.json that mean something in other families and nothing in this one.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";
import { keysOf } from "./hf_config.ts";

/** Keys that change what some model computes. */
const MEANINGFUL: readonly string[] = [
  ...["attention_bias", "attention_chunk_size", "attention_multiplier", "attention_value_scale"],
  ...["attn_logit_softcapping", "attn_temperature_tuning", "clip_qkv", "embedding_multiplier"],
  ...["expert_layer_period", "final_logit_softcapping", "first_k_dense_replace", "layer_types"],
  ...["hidden_act", "logits_scaling", "mlp_bias", "mlp_layer_types", "moe_layer_freq", "n_group"],
  ...["n_shared_experts", "norm_topk_prob", "num_shared_experts", "qk_layernorm"],
  ...["query_pre_attn_scalar", "residual_multiplier", "rope_interleave", "routed_scaling_factor"],
  ...["scoring_func", "shared_expert_intermediate_size", "sliding_window", "swiglu_limit"],
  ...["topk_group", "topk_method", "use_qk_norm", "use_sliding_window"],
];

/** Sentences about keys without effect; nothing about those that say what the family does anyway. */
export function unreadKeys(
  schema: z.ZodType,
  config: Readonly<Record<string, unknown>>,
  { name, assumes = {} }: { name: string; assumes?: Readonly<Record<string, unknown>> },
): string[] {
  const read = keysOf(schema);
  return MEANINGFUL.flatMap((key) => {
    const value = config[key];
    if (key in read || isNeutral(value) || String(assumes[key]) === String(value)) return [];
    return [`${key} ${JSON.stringify(value)} has no effect: ${name} does not read it`];
  });
}

/** Values that switch nothing on. */
function isNeutral(value: unknown): boolean {
  return value === undefined || value === null || value === false || value === 0 ||
    (Array.isArray(value) && value.every((each) => each === "full_attention"));
}
