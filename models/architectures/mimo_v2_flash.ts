/**
 * MiMo-V2-Flash: twice the key heads and sinks in sliding layers, value heads smaller than key heads,
 * RoPE by layer type. After `modeling_mimo_v2_flash.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineArchitecture } from "../architecture.ts";
import type { AttentionSpec } from "../blocks/attention.ts";
import { classDefaults } from "../config/class_defaults.ts";
import {
  groupConfigFields,
  isSparseLayer,
  layerTypesSchema,
  mlpTypesSchema,
  sizeSchema,
  sparseConfigFields,
} from "../config/config_fields.ts";
import { decoder, plainAttention } from "../blocks/decoder.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import { denseMlp } from "../blocks/moe_block.ts";
import { ropeFrequencies, ropeSchema } from "../config/rope.ts";
import { CORRECTION, groupsOf, routedMlp } from "../blocks/routed_mlp.ts";

const configSchema = z.looseObject({
  ...sparseConfigFields,
  ...groupConfigFields,
  rope_parameters: z.object({ sliding_attention: ropeSchema, full_attention: ropeSchema }),
  intermediate_size: sizeSchema,
  moe_intermediate_size: sizeSchema,
  v_head_dim: sizeSchema,
  sliding_window: sizeSchema,
  attention_value_scale: z.number().default(1),
  layer_types: layerTypesSchema,
  mlp_layer_types: mlpTypesSchema,
});

type Config = z.output<typeof configSchema>;

const PARTIAL = 0.334;

/** MiMo-V2-Flash. */
export const mimoV2Flash = defineArchitecture({
  name: "mimo_v2_flash",
  hfNames: ["MiMoV2FlashForCausalLM"],
  features: [
    "sigmoid router with correction and groups, dense layers by mlp_layer_types",
    "sinks and twice the key heads in sliding layers, value heads of another size, value scale",
    "partial RoPE by layer type: default, linear, yarn, llama3",
  ],
  reading: {
    defaults: classDefaults("mimo_v2_flash"),
    names: { n_routed_experts: "num_experts" },
    rope: {
      newKeysOnly: true,
      layerTypes: ["sliding_attention", "full_attention"],
      partial: PARTIAL,
      whenMissing: {
        sliding_attention: { rope_type: "default", rope_theta: 1e4 },
        full_attention: { rope_type: "default", rope_theta: 5e6 },
      },
    },
  },
  config: configSchema,
  assumes: { scoring_func: "sigmoid", topk_method: "noaux_tc", n_shared_experts: undefined },
  build(b, config, weights) {
    const { hidden_size: hidden, hidden_act: activation } = config;
    const dense = { hidden, intermediate: config.intermediate_size, activation };
    decoder(b, config, weights, (index, module) => ({
      attention: attentionOf(config, weights, index, `${module}.self_attn`),
      mlp: isSparseLayer(config.mlp_layer_types, index, 1)
        ? routedMlp(weights, [`${module}.mlp`], {
          ...{ hidden, activation, intermediate: config.moe_intermediate_size },
          experts: config.num_experts,
          topK: config.num_experts_per_tok,
          scoring: "sigmoid",
          corrections: CORRECTION,
          groups: groupsOf(config.n_group, config.topk_group, "two_best"),
          renormalize: config.norm_topk_prob && { offset: 1e-20 },
          scale: config.routed_scaling_factor,
        })
        : denseMlp(weights, `${module}.mlp`, dense),
    }));
  },
});

/** The first layer and every sixth see everything. */
function isSliding({ layer_types: types }: Config, index: number): boolean {
  return types ? types[index] === "sliding_attention" : index !== 0 && (index + 1) % 6 !== 0;
}

function attentionOf(
  config: Config,
  weights: ModelWeights,
  index: number,
  module: string,
): AttentionSpec {
  const sliding = isSliding(config, index);
  const { num_attention_heads: heads, num_key_value_heads: kvHeads } = config;
  const parameters = config.rope_parameters[sliding ? "sliding_attention" : "full_attention"];
  const frequencies = ropeFrequencies(
    parameters,
    config.head_dim,
    config.max_position_embeddings,
  );
  const names = [`${module}.attention_sink_bias`, `${module}.sinks`];
  return {
    ...plainAttention(config, weights, module, {
      bias: config.attention_bias,
      outputBias: false,
      kvHeads: sliding ? 2 * kvHeads : kvHeads,
      valueDim: config.v_head_dim,
      rotary: { frequencies, layout: "half" },
    }),
    valueScale: config.attention_value_scale,
    window: sliding ? config.sliding_window : undefined,
    sinks: sliding ? weights.vector(weights.findName(names), heads) : undefined,
  };
}
