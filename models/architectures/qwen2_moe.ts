/**
 * Qwen2-MoE: grouped-query attention with biases, a softmax router, and a shared expert behind a gate
 * of its own. After `modeling_qwen2_moe.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import {
  countSchema,
  layerTypesSchema,
  sizeSchema,
  sparseConfigFields,
} from "../config/config_fields.ts";
import { decoder, plainAttention } from "../blocks/decoder.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import { denseMlp } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";
import { routedMlp } from "../blocks/routed_mlp.ts";

const configSchema = z.looseObject({
  ...sparseConfigFields,
  qkv_bias: z.boolean().default(true),
  intermediate_size: sizeSchema,
  moe_intermediate_size: sizeSchema,
  shared_expert_intermediate_size: sizeSchema,
  norm_topk_prob: z.boolean().default(false),
  decoder_sparse_step: sizeSchema.default(1),
  mlp_only_layers: z.array(countSchema).default([]),
  use_sliding_window: z.boolean().default(false),
  sliding_window: countSchema.optional(),
  max_window_layers: countSchema.default(28),
  layer_types: layerTypesSchema,
});

type Config = z.output<typeof configSchema>;

/** Qwen1.5-MoE-A2.7B, Qwen2-57B-A14B and their kin. */
export const qwen2Moe = defineArchitecture({
  name: "qwen2_moe",
  hfNames: ["Qwen2MoeForCausalLM"],
  features: [
    "grouped-query attention with biases of q, k and v",
    "softmax router with optional renormalisation",
    "shared expert with a sigmoid gate",
    "dense layers by mlp_only_layers and decoder_sparse_step",
    "sliding window by layer_types, tied embeddings",
    ROPE_TYPES,
  ],
  reading: { defaults: classDefaults("qwen2_moe") },
  config: configSchema,
  build(b, config, weights) {
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, {
          bias: config.qkv_bias,
          outputBias: false,
        }),
        window: isSliding(config, index) ? config.sliding_window : undefined,
      },
      mlp: mlpOf(config, weights, index, `${module}.mlp`),
    }));
  },
});

/** transformers takes every second of the first layers where the config has no list. */
function isSliding(config: Config, index: number): boolean {
  if (!config.use_sliding_window || !config.sliding_window) return false;
  const { layer_types: types } = config;
  return types
    ? types[index] === "sliding_attention"
    : index % 2 === 0 && index < config.max_window_layers;
}

function mlpOf(config: Config, weights: ModelWeights, index: number, module: string) {
  const { hidden_size: hidden, hidden_act: activation } = config;
  const sparse = !config.mlp_only_layers.includes(index) &&
    (index + 1) % config.decoder_sparse_step === 0;
  if (!sparse) {
    return denseMlp(weights, module, {
      hidden,
      intermediate: config.intermediate_size,
      activation,
    });
  }
  return routedMlp(weights, [module], {
    experts: config.num_experts,
    hidden,
    intermediate: config.moe_intermediate_size,
    topK: config.num_experts_per_tok,
    scoring: "softmax",
    renormalize: config.norm_topk_prob,
    activation,
    shared: {
      names: ["shared_expert"],
      intermediate: config.shared_expert_intermediate_size,
      gate: "shared_expert_gate",
    },
  });
}
