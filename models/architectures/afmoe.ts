/**
 * Arcee's Trinity: attention behind a gate, RoPE and a window in sliding layers alone, four norms a
 * layer. After `modeling_afmoe.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineArchitecture } from "../architecture.ts";
import type { AttentionSpec } from "../blocks/attention.ts";
import { classDefaults } from "../config/class_defaults.ts";
import {
  countSchema,
  layerTypesSchema,
  sizeSchema,
  sparseConfigFields,
} from "../config/config_fields.ts";
import { decoder, headNorms, plainAttention } from "../blocks/decoder.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import { denseMlp } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";
import { rotaryOf } from "../blocks/rotary.ts";
import { routedMlp } from "../blocks/routed_mlp.ts";

const configSchema = z.looseObject({
  ...sparseConfigFields,
  intermediate_size: sizeSchema,
  moe_intermediate_size: sizeSchema,
  num_shared_experts: countSchema.default(2),
  num_dense_layers: countSchema.default(1),
  route_scale: z.number().default(1),
  sliding_window: sizeSchema,
  global_attn_every_n_layers: sizeSchema.default(4),
  layer_types: layerTypesSchema,
  mup_enabled: z.boolean().default(false),
});

type Config = z.output<typeof configSchema>;

/** Trinity-Nano, Mini and Large. */
export const afmoe = defineArchitecture({
  name: "afmoe",
  hfNames: ["AfmoeForCausalLM"],
  features: [
    "sigmoid router with correction, shared experts, first layers dense",
    "attention behind a gate, q and k norms, RoPE and window in sliding layers alone",
    "norms around both blocks, scaled embeddings",
    ROPE_TYPES,
  ],
  reading: { defaults: classDefaults("afmoe") },
  config: configSchema,
  assumes: { score_func: "sigmoid", n_group: 1, topk_group: 1 },
  build(b, config, weights) {
    const { hidden_size: hidden, hidden_act: activation } = config;
    const { moe_intermediate_size: intermediate, num_shared_experts: shared } = config;
    const dense = { hidden, intermediate: config.intermediate_size, activation };
    decoder(b, config, weights, (index, module) => ({
      attention: attentionOf(config, weights, index, `${module}.self_attn`),
      mlp: index < config.num_dense_layers
        ? denseMlp(weights, `${module}.mlp`, dense)
        : routedMlp(weights, [`${module}.mlp`], {
          ...{ hidden, activation, intermediate },
          experts: config.num_experts,
          topK: config.num_experts_per_tok,
          scoring: "sigmoid",
          gates: ["router.gate"],
          corrections: ["expert_bias"],
          renormalize: { offset: 1e-20 },
          scale: config.route_scale,
          shared: { names: ["shared_experts"], intermediate: shared * intermediate },
        }),
      norms: {
        beforeAttention: "input_layernorm",
        afterAttention: "post_attention_layernorm",
        beforeMlp: "pre_mlp_layernorm",
        afterMlp: "post_mlp_layernorm",
      },
    }), { embeddingScale: config.mup_enabled ? Math.sqrt(hidden) : 1 });
  },
});

function attentionOf(
  config: Config,
  weights: ModelWeights,
  index: number,
  module: string,
): AttentionSpec {
  const { layer_types: types, global_attn_every_n_layers: every } = config;
  const sliding = types ? types[index] === "sliding_attention" : (index + 1) % every !== 0;
  const rows = config.num_attention_heads * config.head_dim;
  return {
    ...plainAttention(config, weights, module, {
      bias: config.attention_bias,
      rotary: sliding ? rotaryOf(config) : null,
    }),
    qkNorm: headNorms(config, weights, module),
    gate: {
      name: "gate_proj",
      weight: weights.matrix(`${module}.gate_proj`, rows, config.hidden_size),
      activation: "sigmoid",
    },
    window: sliding ? config.sliding_window : undefined,
  };
}
