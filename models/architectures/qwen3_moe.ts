/**
 * Qwen3-MoE: grouped-query attention with RMSNorm on every head of q and k, and a softmax router.
 * After `modeling_qwen3_moe.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { hiddenActSchema } from "../blocks/activation.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { decoder, headNorms, plainAttention } from "../blocks/decoder.ts";
import { baseConfigFields, moeConfigFields } from "../config/hf_config.ts";
import { ROTARY_BUFFERS, TIED_HEAD } from "../weights/ignored_tensors.ts";
import { type ModelWeights, PROJECTION_NAMES } from "../weights/model_weights.ts";
import { denseMlp, softmaxMlp } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";

const configSchema = z.looseObject({
  ...baseConfigFields,
  ...moeConfigFields,
  hidden_act: hiddenActSchema,
  attention_bias: z.boolean().default(false),
  intermediate_size: z.int().positive(),
  moe_intermediate_size: z.int().positive(),
  norm_topk_prob: z.boolean().default(false),
  decoder_sparse_step: z.int().positive().default(1),
  mlp_only_layers: z.array(z.int().nonnegative()).default([]),
  use_sliding_window: z.boolean().default(false),
  sliding_window: z.int().nonnegative().optional(),
});

type Config = z.output<typeof configSchema>;

/** Qwen3-30B-A3B, Qwen3-235B-A22B, Qwen3-Coder and models derived from them. */
export const qwen3Moe = defineArchitecture({
  name: "qwen3_moe",
  hfNames: ["Qwen3MoeForCausalLM"],
  features: [
    "grouped-query attention with q and k norms per head",
    "softmax router with optional renormalisation",
    "dense layers by mlp_only_layers and decoder_sparse_step",
    "attention biases, sliding window, tied embeddings",
    ROPE_TYPES,
  ],
  reading: {
    defaults: classDefaults("qwen3_moe"),
    names: { num_local_experts: "num_experts" },
  },
  config: configSchema,
  ignoredTensors: [ROTARY_BUFFERS, TIED_HEAD],
  build(b, config, weights) {
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, { bias: config.attention_bias }),
        qkNorm: headNorms(config, weights, `${module}.self_attn`),
        window: config.use_sliding_window ? config.sliding_window : undefined,
      },
      mlp: mlpOf(config, weights, index, `${module}.mlp`),
    }));
  },
});

function isSparse(config: Config, index: number): boolean {
  return !config.mlp_only_layers.includes(index) && (index + 1) % config.decoder_sparse_step === 0;
}

function mlpOf(config: Config, weights: ModelWeights, index: number, module: string) {
  const { num_experts: experts, hidden_size: hidden } = config;
  const activation = config.hidden_act;
  if (!isSparse(config, index)) {
    return denseMlp(weights, module, {
      hidden,
      intermediate: config.intermediate_size,
      activation,
    });
  }
  return softmaxMlp(weights, {
    modules: [module],
    source: PROJECTION_NAMES,
    experts,
    hidden,
    intermediate: config.moe_intermediate_size,
    topK: config.num_experts_per_tok,
    renormalize: config.norm_topk_prob,
    activation,
  });
}
