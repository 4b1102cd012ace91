/**
 * OLMoE and FlexOlmo: RMSNorm over the whole projections of q and k, optional clamping of q, k and v, and a
 * softmax router; FlexOlmo has its norms behind the blocks. After `modeling_olmoe.py` and
 * `modeling_flex_olmo.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import type { GraphBuilder } from "../../graph/mod.ts";
import { hiddenActSchema } from "../blocks/activation.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { decoder, type LayerNorms, normWeight, plainAttention } from "../blocks/decoder.ts";
import { baseConfigFields, moeConfigFields } from "../config/hf_config.ts";
import { type ModelWeights, PROJECTION_NAMES } from "../weights/model_weights.ts";
import { softmaxMlp } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";

const fields = {
  ...baseConfigFields,
  ...moeConfigFields,
  hidden_act: hiddenActSchema,
  intermediate_size: z.int().positive(),
  attention_bias: z.boolean().default(false),
  norm_topk_prob: z.boolean().default(false),
};

const configSchema = z.looseObject({ ...fields, clip_qkv: z.number().positive().optional() });

const flexSchema = z.looseObject(fields);

/** OLMoE-1B-7B and models derived from it. */
export const olmoe = defineArchitecture({
  name: "olmoe",
  hfNames: ["OlmoeForCausalLM"],
  features: [
    "multi-head or grouped-query attention with q and k norms over all heads",
    "clip_qkv, attention biases, tied embeddings",
    "softmax router with optional renormalisation",
    ROPE_TYPES,
  ],
  reading: { defaults: classDefaults("olmoe") },
  config: configSchema,
  build: (b, config, weights) => build(b, config, weights, { clip: config.clip_qkv }),
});

/** FlexOlmo-7x7B-1T. */
export const flexOlmo = defineArchitecture({
  name: "flex_olmo",
  hfNames: ["FlexOlmoForCausalLM"],
  features: [
    "norms behind attention and experts, q and k norms over all heads",
    "attention biases, tied embeddings",
    "softmax router with optional renormalisation",
    ROPE_TYPES,
  ],
  reading: { defaults: classDefaults("flex_olmo") },
  config: flexSchema,
  build: (b, config, weights) =>
    build(b, config, weights, {
      norms: {
        afterAttention: "post_attention_layernorm",
        afterMlp: "post_feedforward_layernorm",
      },
    }),
});

function build(
  b: GraphBuilder,
  config: z.output<z.ZodObject<typeof fields>>,
  weights: ModelWeights,
  { clip, norms }: { clip?: number | undefined; norms?: LayerNorms },
): void {
  const { num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: headDim } = config;
  decoder(b, config, weights, (_index, module) => ({
    attention: {
      ...plainAttention(config, weights, `${module}.self_attn`, { bias: config.attention_bias }),
      qkNorm: {
        over: "all",
        q: normWeight(weights, `${module}.self_attn.q_norm`, heads * headDim),
        k: normWeight(weights, `${module}.self_attn.k_norm`, kvHeads * headDim),
        eps: config.rms_norm_eps,
      },
      ...(clip !== undefined && { clip }),
    },
    mlp: softmaxMlp(weights, {
      modules: [`${module}.mlp`],
      source: PROJECTION_NAMES,
      experts: config.num_experts,
      hidden: config.hidden_size,
      intermediate: config.intermediate_size,
      topK: config.num_experts_per_tok,
      renormalize: config.norm_topk_prob,
      activation: config.hidden_act,
    }),
    ...(norms && { norms }),
  }));
}
