/**
 * Laguna: attention behind a softplus gate, query heads by layer, a rotary embedding for each type of
 * attention, experts routed as DeepSeek-V3 routes them. After `modeling_laguna.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineArchitecture } from "../architecture.ts";
import type { AttentionSpec } from "../blocks/attention.ts";
import { classDefaults } from "../config/class_defaults.ts";
import {
  isSparseLayer,
  layerTypesSchema,
  mlpTypesSchema,
  sizeSchema,
  sparseConfigFields,
} from "../config/config_fields.ts";
import { decoder, headNorms, plainAttention } from "../blocks/decoder.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import { denseMlp } from "../blocks/moe_block.ts";
import { ropeFrequencies, ropeSchema } from "../config/rope.ts";
import { routedMlp } from "../blocks/routed_mlp.ts";

const TYPES = ["sliding_attention", "full_attention"] as const;

const configSchema = z.looseObject({
  ...sparseConfigFields,
  rope_parameters: z.object({
    sliding_attention: ropeSchema.optional(),
    full_attention: ropeSchema.optional(),
  }),
  intermediate_size: sizeSchema,
  moe_intermediate_size: sizeSchema,
  shared_expert_intermediate_size: sizeSchema,
  num_attention_heads_per_layer: z.array(sizeSchema).optional(),
  gating: z.union([z.literal(true), z.enum(["per-head", "per-element"])]).default(true),
  sliding_window: sizeSchema.optional(),
  layer_types: layerTypesSchema,
  mlp_layer_types: mlpTypesSchema,
  moe_routed_scaling_factor: z.number().default(1),
  moe_apply_router_weight_on_input: z.literal(false).default(false),
  moe_router_logit_softcapping: z.number().default(0),
}).superRefine((config, context) => {
  const { num_attention_heads_per_layer: heads, num_hidden_layers: layers } = config;
  const refuse = (path: string[], message: string, input: unknown) =>
    context.addIssue({ code: "custom", path, message, input });
  if (heads && heads.length !== layers) {
    refuse(["num_attention_heads_per_layer"], `${layers} entries, one for each layer`, heads);
  }
  const odd = heads?.find((each) => each % config.num_key_value_heads !== 0);
  if (odd !== undefined) {
    const message = `multiples of num_key_value_heads (${config.num_key_value_heads})`;
    refuse(["num_attention_heads_per_layer"], message, heads);
  }
  for (const type of config.layer_types ?? ["full_attention" as const]) {
    if (config.rope_parameters[type]) continue;
    refuse(["rope_parameters", type], "parameters for each of layer_types", undefined);
  }
});

type Config = z.output<typeof configSchema>;

/** Laguna-XS.2. */
export const laguna = defineArchitecture({
  name: "laguna",
  hfNames: ["LagunaForCausalLM"],
  features: [
    "sigmoid router with correction and soft cap of logits, shared expert, dense layers by mlp_layer_types",
    "attention behind a softplus gate of each head or element, query heads by layer, biases",
    "q and k norms per head, sliding window by layer_types",
    "partial RoPE by layer type: default, linear, yarn, llama3",
  ],
  reading: {
    defaults: classDefaults("laguna"),
    rope: {
      newKeysOnly: true,
      layerTypes: TYPES,
      partial: "reads",
      whenMissing: {
        sliding_attention: { rope_type: "default", rope_theta: 1e4, partial_rotary_factor: 1 },
        full_attention: { rope_type: "default", rope_theta: 5e5, partial_rotary_factor: 0.5 },
      },
    },
  },
  config: configSchema,
  assumes: { scoring_func: "sigmoid", norm_topk_prob: true },
  build(b, config, weights) {
    const { hidden_size: hidden, hidden_act: activation } = config;
    const { moe_router_logit_softcapping: cap } = config;
    const dense = { hidden, intermediate: config.intermediate_size, activation };
    decoder(b, config, weights, (index, module) => ({
      attention: attentionOf(config, weights, index, `${module}.self_attn`),
      mlp: isSparseLayer(config.mlp_layer_types, index, 1)
        ? routedMlp(weights, [`${module}.mlp`], {
          ...{ hidden, activation, intermediate: config.moe_intermediate_size },
          experts: config.num_experts,
          topK: config.num_experts_per_tok,
          scoring: "sigmoid",
          corrections: ["experts.e_score_correction_bias", "gate.e_score_correction_bias"],
          renormalize: true,
          scale: config.moe_routed_scaling_factor,
          ...(cap > 0 && { logitCap: cap }),
          shared: {
            names: ["shared_expert", "shared_experts"],
            intermediate: config.shared_expert_intermediate_size,
          },
        })
        : denseMlp(weights, `${module}.mlp`, dense),
    }));
  },
});

function attentionOf(
  config: Config,
  weights: ModelWeights,
  index: number,
  module: string,
): AttentionSpec {
  const type = config.layer_types?.[index] ?? "full_attention";
  const { head_dim: dim, max_position_embeddings: positions, hidden_size: hidden } = config;
  const heads = config.num_attention_heads_per_layer?.[index] ?? config.num_attention_heads;
  const perHead = config.gating !== "per-element";
  const parameters = config.rope_parameters[type];
  return {
    ...plainAttention(config, weights, module, {
      heads,
      bias: config.attention_bias,
      rotary: parameters
        ? { frequencies: ropeFrequencies(parameters, dim, positions), layout: "half" }
        : null,
    }),
    qkNorm: headNorms(config, weights, module),
    gate: {
      name: "g_proj",
      weight: weights.matrix(`${module}.g_proj`, perHead ? heads : heads * dim, hidden),
      activation: "softplus",
      perHead,
    },
    window: type === "sliding_attention" ? config.sliding_window : undefined,
  };
}
