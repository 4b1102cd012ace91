/**
 * Qwen3-MoE, the text of Qwen3-Omni, and Mellum 2: grouped-query attention with RMSNorm on every head of q
 * and k, and a softmax router; Mellum's layers slide by type, with a rotary embedding for each. After
 * `modeling_qwen3_moe.py`, `modeling_qwen3_omni_moe.py` and `modeling_mellum.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { hiddenActSchema } from "../blocks/activation.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { decoder, headNorms, plainAttention } from "../blocks/decoder.ts";
import { baseConfigFields, moeConfigFields } from "../config/hf_config.ts";
import {
  type IgnoredTensors,
  type ModelWeights,
  PROJECTION_NAMES,
} from "../weights/model_weights.ts";
import { denseMlp, softmaxMlp } from "../blocks/moe_block.ts";
import { ROPE_TYPES, ropeFrequencies, ropeSchema } from "../config/rope.ts";
import {
  isSparseLayer,
  layerTypesSchema,
  mlpTypesSchema,
  sizeSchema,
} from "../config/config_fields.ts";

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
  build(b, config, weights) {
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, { bias: config.attention_bias }),
        qkNorm: headNorms(config, weights, `${module}.self_attn`),
        window: config.use_sliding_window ? config.sliding_window : undefined,
      },
      mlp: mlpOf(config, weights, `${module}.mlp`, isSparse(config, index)),
    }));
  },
});

const omniSchema = configSchema.omit({ use_sliding_window: true, sliding_window: true });

type OmniConfig = z.output<typeof omniSchema>;

/** What speaks in a model that listens, looks and speaks. */
const SPEECH: IgnoredTensors = {
  pattern: /^(talker|code2wav)\./,
  reason: "a part of the speaking model; text alone is loaded",
};

/** The text of Qwen3-Omni-30B-A3B's thinker. */
export const qwen3OmniMoe = defineArchitecture({
  name: "qwen3_omni_moe_text",
  hfNames: [
    "Qwen3OmniMoeForConditionalGeneration",
    "Qwen3OmniMoeThinkerForConditionalGeneration",
  ],
  features: [
    "text of the thinker alone; grouped-query attention with q and k norms per head, biases",
    "softmax router with optional renormalisation",
    "dense layers by mlp_only_layers and decoder_sparse_step",
    ROPE_TYPES,
  ],
  reading: {
    defaults: classDefaults("qwen3_omni_moe_text"),
    names: { num_local_experts: "num_experts" },
  },
  config: omniSchema,
  ignoredTensors: [SPEECH],
  build(b, config, weights) {
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, { bias: config.attention_bias }),
        qkNorm: headNorms(config, weights, `${module}.self_attn`),
      },
      mlp: mlpOf(config, weights, `${module}.mlp`, isSparse(config, index)),
    }));
  },
});

const mellumSchema = z.looseObject({
  ...baseConfigFields,
  ...moeConfigFields,
  rope_parameters: z.object({ sliding_attention: ropeSchema, full_attention: ropeSchema }),
  hidden_act: hiddenActSchema,
  attention_bias: z.boolean().default(false),
  intermediate_size: sizeSchema,
  moe_intermediate_size: sizeSchema,
  norm_topk_prob: z.boolean().default(true),
  sliding_window: sizeSchema.optional(),
  layer_types: layerTypesSchema,
  mlp_layer_types: mlpTypesSchema,
});

/** Mellum2-12B-A2.5B. */
export const mellum = defineArchitecture({
  name: "mellum",
  hfNames: ["MellumForCausalLM"],
  features: [
    "grouped-query attention with q and k norms per head, biases",
    "softmax router with optional renormalisation, dense layers by mlp_layer_types",
    "sliding window by layer_types, tied embeddings",
    "RoPE by layer type: default, linear, yarn, llama3",
  ],
  reading: {
    defaults: classDefaults("mellum"),
    names: { num_local_experts: "num_experts" },
    rope: {
      newKeysOnly: true,
      partial: "refuses",
      layerTypes: ["sliding_attention", "full_attention"],
      whenMissing: {
        sliding_attention: { rope_type: "default", rope_theta: 1e4 },
        full_attention: { rope_type: "default", rope_theta: 5e5 },
      },
    },
  },
  config: mellumSchema,
  build(b, config, weights) {
    const { layer_types: types, head_dim: dim, max_position_embeddings: positions } = config;
    decoder(b, config, weights, (index, module) => {
      const type = types?.[index] ?? "full_attention";
      const frequencies = ropeFrequencies(config.rope_parameters[type], dim, positions);
      return {
        attention: {
          ...plainAttention(config, weights, `${module}.self_attn`, {
            bias: config.attention_bias,
            rotary: { frequencies, layout: "half" },
          }),
          qkNorm: headNorms(config, weights, `${module}.self_attn`),
          window: type === "sliding_attention" ? config.sliding_window : undefined,
        },
        mlp: mlpOf(
          config,
          weights,
          `${module}.mlp`,
          isSparseLayer(config.mlp_layer_types, index, 0),
        ),
      };
    });
  },
});

function isSparse(config: OmniConfig, index: number): boolean {
  return !config.mlp_only_layers.includes(index) && (index + 1) % config.decoder_sparse_step === 0;
}

type MlpConfig = OmniConfig | z.output<typeof mellumSchema>;

function mlpOf(config: MlpConfig, weights: ModelWeights, module: string, sparse: boolean) {
  const { num_experts: experts, hidden_size: hidden } = config;
  const activation = config.hidden_act;
  if (!sparse) {
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
