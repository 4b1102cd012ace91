/**
 * OLMoE: RMSNorm over the whole projections of q and k, optional clamping of q, k and v, and a
 * softmax router. After `modeling_olmoe.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { hiddenActSchema } from "../blocks/activation.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { decoder, normWeight, plainAttention } from "../blocks/decoder.ts";
import { baseConfigFields, moeConfigFields } from "../config/hf_config.ts";
import { ROTARY_BUFFERS, TIED_HEAD } from "../weights/ignored_tensors.ts";
import { PROJECTION_NAMES } from "../weights/model_weights.ts";
import { softmaxMlp } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";

const configSchema = z.looseObject({
  ...baseConfigFields,
  ...moeConfigFields,
  hidden_act: hiddenActSchema,
  intermediate_size: z.int().positive(),
  attention_bias: z.boolean().default(false),
  norm_topk_prob: z.boolean().default(false),
  clip_qkv: z.number().positive().optional(),
});

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
  ignoredTensors: [ROTARY_BUFFERS, TIED_HEAD],
  build(b, config, weights) {
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
        clip: config.clip_qkv,
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
    }));
  },
});
