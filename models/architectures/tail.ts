/**
 * Families that are made of parts that others have: K-EXAONE, Hunyuan-A13B, and the text of Qwen3-VL.
 * After `modeling_exaone_moe.py`, `modeling_hunyuan_v1_moe.py` and `modeling_qwen3_vl_moe.py` of
 * transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import {
  countSchema,
  groupConfigFields,
  isSparseLayer,
  layerTypesSchema,
  mlpTypesSchema,
  sizeSchema,
  sparseConfigFields,
} from "../config/config_fields.ts";
import { decoder, headNorms, plainAttention } from "../blocks/decoder.ts";
import { denseMlp } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";
import { rotaryOf, type RotarySpec } from "../blocks/rotary.ts";
import { groupsOf, routedMlp } from "../blocks/routed_mlp.ts";

const exaoneSchema = z.looseObject({
  ...sparseConfigFields,
  ...groupConfigFields,
  intermediate_size: sizeSchema,
  moe_intermediate_size: sizeSchema,
  num_shared_experts: countSchema.default(1),
  first_k_dense_replace: countSchema.default(1),
  sliding_window: sizeSchema.optional(),
  sliding_window_pattern: sizeSchema.default(4),
  layer_types: layerTypesSchema,
  mlp_layer_types: mlpTypesSchema,
});

type ExaoneConfig = z.output<typeof exaoneSchema>;

/** K-EXAONE-236B-A23B. */
export const exaoneMoe = defineArchitecture({
  name: "exaone_moe",
  hfNames: ["ExaoneMoeForCausalLM"],
  features: [
    "sigmoid router with correction and groups, shared experts, dense layers by mlp_layer_types",
    "q and k norms per head, RoPE and window in sliding layers alone",
    ROPE_TYPES,
  ],
  reading: { defaults: classDefaults("exaone_moe") },
  config: exaoneSchema,
  assumes: { scoring_func: "sigmoid", topk_method: "noaux_tc" },
  build(b, config, weights) {
    const { hidden_size: hidden, hidden_act: activation } = config;
    const { moe_intermediate_size: intermediate, num_shared_experts: shared } = config;
    const dense = { hidden, intermediate: config.intermediate_size, activation };
    const rotary = rotaryOf(config);
    decoder(b, config, weights, (index, module) => {
      const sliding = isSliding(config, index);
      return {
        attention: {
          ...plainAttention(config, weights, `${module}.self_attn`, {
            rotary: config.sliding_window === undefined || sliding ? rotary : null,
          }),
          qkNorm: headNorms(config, weights, `${module}.self_attn`),
          window: sliding ? config.sliding_window : undefined,
        },
        mlp: isSparseLayer(config.mlp_layer_types, index, config.first_k_dense_replace)
          ? routedMlp(weights, [`${module}.mlp`], {
            ...{ hidden, activation, intermediate },
            experts: config.num_experts,
            topK: config.num_experts_per_tok,
            scoring: "sigmoid",
            corrections: ["e_score_correction_bias", "gate.e_score_correction_bias"],
            groups: groupsOf(config.n_group, config.topk_group, "two_best"),
            renormalize: config.norm_topk_prob && { offset: 1e-20 },
            scale: config.routed_scaling_factor,
            shared: shared > 0
              ? { names: ["shared_experts"], intermediate: shared * intermediate }
              : undefined,
          })
          : denseMlp(weights, `${module}.mlp`, dense),
      };
    });
  },
});

/** Without a list, every fourth layer sees everything. */
function isSliding(config: ExaoneConfig, index: number): boolean {
  const { layer_types: types, sliding_window: window, sliding_window_pattern: every } = config;
  if (window === undefined) return false;
  return types ? types[index] === "sliding_attention" : (index + 1) % every !== 0;
}

/** One number, or one for each layer. */
const topkSchema = z.union([sizeSchema, z.array(sizeSchema)]);

const hunyuanSchema = z.looseObject({
  ...sparseConfigFields,
  num_experts_per_tok: topkSchema.transform((topK) =>
    Array.isArray(topK) ? Math.max(...topK) : topK
  ),
  moe_topk: topkSchema.optional(),
  intermediate_size: sizeSchema,
});

type HunyuanConfig = z.output<typeof hunyuanSchema>;

/** Hunyuan-A13B. */
export const hunyuanV1Moe = defineArchitecture({
  name: "hunyuan_v1_moe",
  hfNames: ["HunYuanMoEV1ForCausalLM"],
  features: [
    "softmax router, renormalised, shared expert, experts a token by layer",
    "q and k norms per head after RoPE",
    `${ROPE_TYPES}, dynamic with alpha at any length`,
  ],
  reading: {
    defaults: classDefaults("hunyuan_v1_moe"),
    names: { moe_topk: "num_experts_per_tok" },
  },
  config: hunyuanSchema,
  build(b, config, weights) {
    const { hidden_size: hidden, hidden_act: activation, num_experts_per_tok: most } = config;
    const { intermediate_size: intermediate, num_experts: experts } = config;
    const rotary = alphaRotary(config);
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, {
          bias: config.attention_bias,
          rotary,
        }),
        qkNorm: {
          ...headNorms(config, weights, `${module}.self_attn`, {
            names: ["query_layernorm", "key_layernorm"],
          }),
          afterRope: true,
        },
      },
      mlp: routedMlp(weights, [`${module}.mlp`], {
        ...{ experts, hidden, activation, intermediate },
        topK: Array.isArray(config.moe_topk) ? config.moe_topk[index] : most,
        scoring: "softmax",
        gates: ["gate.wg"],
        renormalize: true,
        shared: { names: ["shared_mlp"], intermediate },
      }),
    }));
  },
});

/** With `alpha`, the base grows once and for all. */
function alphaRotary(config: HunyuanConfig): RotarySpec {
  const { head_dim: dim, rope_parameters: rope } = config;
  const { alpha } = rope;
  const grown = rope.rope_type === "dynamic" && typeof alpha === "number"
    ? {
      rope_type: "default" as const,
      rope_theta: rope.rope_theta * alpha ** (dim / (dim - 2)),
    }
    : rope;
  return rotaryOf({ ...config, rope_parameters: grown });
}

const visionSchema = z.looseObject({
  ...sparseConfigFields,
  intermediate_size: sizeSchema,
  moe_intermediate_size: sizeSchema,
  decoder_sparse_step: sizeSchema.default(1),
  mlp_only_layers: z.array(countSchema).default([]),
});

const visionDefaults = classDefaults("qwen3_vl_moe_text");

/** The text of Qwen3-VL-30B-A3B and 235B-A22B. */
export const qwen3VlMoe = defineArchitecture({
  name: "qwen3_vl_moe_text",
  hfNames: ["Qwen3VLMoeForConditionalGeneration"],
  features: [
    "text alone; softmax router, renormalised",
    "q and k norms per head, dense layers by mlp_only_layers and decoder_sparse_step",
    "experts stored either way round",
    ROPE_TYPES,
  ],
  reading: {
    // The wrapper's class decides about the head, and does not tie it by default.
    defaults: {
      ...visionDefaults,
      fields: { ...visionDefaults.fields, tie_word_embeddings: false },
    },
    names: { num_local_experts: "num_experts" },
  },
  config: visionSchema,
  build(b, config, weights) {
    const { hidden_size: hidden, hidden_act: activation } = config;
    const dense = { hidden, intermediate: config.intermediate_size, activation };
    const sparse = (index: number) =>
      !config.mlp_only_layers.includes(index) && (index + 1) % config.decoder_sparse_step === 0;
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, { bias: config.attention_bias }),
        qkNorm: headNorms(config, weights, `${module}.self_attn`),
      },
      mlp: sparse(index)
        ? routedMlp(weights, [`${module}.mlp`], {
          ...{ hidden, activation, intermediate: config.moe_intermediate_size },
          experts: config.num_experts,
          topK: config.num_experts_per_tok,
          scoring: "softmax",
          renormalize: true,
        })
        : denseMlp(weights, `${module}.mlp`, dense),
    }));
  },
});
