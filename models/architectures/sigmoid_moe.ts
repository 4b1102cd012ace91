/**
 * Grouped-query attention with experts routed as DeepSeek-V3 routes them: GLM-4.5 to 4.7, dots.llm1,
 * Solar-Open, Hunyuan 3, MiniMax-M2. After `modeling_glm4_moe.py`, `modeling_dots1.py`,
 * `modeling_solar_open.py`, `modeling_hy_v3.py` and `modeling_minimax_m2.py` of transformers.
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
import { decoder, headNorms, normWeight, plainAttention } from "../blocks/decoder.ts";
import { type ModelWeights, NUMBERED_NAMES } from "../weights/model_weights.ts";
import { denseMlp, type MlpBuilder } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";
import { CORRECTION, groupsOf, routedMlp } from "../blocks/routed_mlp.ts";

const ROUTER = "sigmoid router with correction";
const NAMES = { n_routed_experts: "num_experts" };

const glmFields = {
  ...sparseConfigFields,
  ...groupConfigFields,
  moe_intermediate_size: sizeSchema,
  n_shared_experts: countSchema.default(0),
  first_k_dense_replace: countSchema.default(0),
};

const visionSchema = z.looseObject({ ...glmFields, intermediate_size: sizeSchema });

const glmSchema = z.looseObject({
  ...glmFields,
  intermediate_size: sizeSchema,
  use_qk_norm: z.boolean().default(false),
});

/** GLM-4.5, 4.5-Air, 4.6, 4.7. */
export const glm4Moe = defineArchitecture({
  name: "glm4_moe",
  hfNames: ["Glm4MoeForCausalLM"],
  features: [
    `${ROUTER} and groups, shared experts, first layers dense`,
    "attention biases, optional q and k norms, partial rotary",
    ROPE_TYPES,
  ],
  reading: { defaults: classDefaults("glm4_moe"), names: NAMES, rope: { partial: 0.5 } },
  config: glmSchema,
  assumes: { scoring_func: "sigmoid", topk_method: "noaux_tc" },
  build(b, config, weights) {
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, {
          bias: config.attention_bias,
          outputBias: false,
        }),
        qkNorm: config.use_qk_norm ? headNorms(config, weights, `${module}.self_attn`) : undefined,
      },
      mlp: glmMlp(config, weights, `${module}.mlp`, index),
    }));
  },
});

/** The text of GLM-4.5V and 4.6V. */
export const glm4vMoe = defineArchitecture({
  name: "glm4v_moe_text",
  hfNames: ["Glm4vMoeForConditionalGeneration"],
  features: [
    `text alone; ${ROUTER} and groups, shared experts, first layers dense`,
    "attention biases, partial rotary",
    ROPE_TYPES,
  ],
  reading: { defaults: classDefaults("glm4v_moe_text"), names: NAMES, rope: { partial: 0.5 } },
  config: visionSchema,
  assumes: { scoring_func: "sigmoid", topk_method: "noaux_tc", use_qk_norm: false },
  build(b, config, weights) {
    decoder(b, config, weights, (index, module) => ({
      attention: plainAttention(config, weights, `${module}.self_attn`, {
        bias: config.attention_bias,
        outputBias: false,
      }),
      mlp: glmMlp(config, weights, `${module}.mlp`, index),
    }));
  },
});

type GlmConfig = z.output<z.ZodObject<typeof glmFields>> & { readonly intermediate_size: number };

function glmMlp(
  config: GlmConfig,
  weights: ModelWeights,
  module: string,
  index: number,
): MlpBuilder {
  const { hidden_size: hidden, hidden_act: activation, n_shared_experts: shared } = config;
  const { intermediate_size, moe_intermediate_size: intermediate } = config;
  if (index < config.first_k_dense_replace) {
    return denseMlp(weights, module, { hidden, intermediate: intermediate_size, activation });
  }
  return routedMlp(weights, [module], {
    ...{ hidden, intermediate, activation },
    experts: config.num_experts,
    topK: config.num_experts_per_tok,
    scoring: "sigmoid",
    corrections: CORRECTION,
    groups: groupsOf(config.n_group, config.topk_group, "two_best"),
    renormalize: config.norm_topk_prob && { offset: 1e-20 },
    scale: config.routed_scaling_factor,
    shared: shared > 0
      ? { names: ["shared_experts"], intermediate: shared * intermediate }
      : undefined,
  });
}

const dotsSchema = z.looseObject({
  ...glmFields,
  intermediate_size: sizeSchema,
  sliding_window: sizeSchema.optional(),
  max_window_layers: countSchema.default(62),
  layer_types: layerTypesSchema,
});

/** dots.llm1. */
export const dots1 = defineArchitecture({
  name: "dots1",
  hfNames: ["Dots1ForCausalLM"],
  features: [
    `${ROUTER} and groups, shared experts, first layers dense`,
    "q and k norms per head, sliding window by layer_types",
    ROPE_TYPES,
  ],
  reading: { defaults: classDefaults("dots1"), names: NAMES },
  config: dotsSchema,
  assumes: { scoring_func: "noaux_tc", topk_method: "noaux_tc", moe_layer_freq: 1 },
  build(b, config, weights) {
    const { layer_types: types, sliding_window: window } = config;
    const slides = (index: number) =>
      types ? types[index] === "sliding_attention" : index >= config.max_window_layers;
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, { bias: config.attention_bias }),
        qkNorm: headNorms(config, weights, `${module}.self_attn`),
        window: slides(index) ? window : undefined,
      },
      mlp: glmMlp(config, weights, `${module}.mlp`, index),
    }));
  },
});

const solarSchema = z.looseObject(glmFields);

/** Solar-Open. */
export const solarOpen = defineArchitecture({
  name: "solar_open",
  hfNames: ["SolarOpenForCausalLM"],
  features: [`${ROUTER} and groups, shared experts`, ROPE_TYPES],
  reading: { defaults: classDefaults("solar_open"), names: NAMES, rope: { partial: "refuses" } },
  config: solarSchema,
  assumes: { scoring_func: "sigmoid", first_k_dense_replace: 0 },
  build(b, config, weights) {
    const sparse = { ...config, intermediate_size: 0, first_k_dense_replace: 0 };
    decoder(b, config, weights, (index, module) => ({
      attention: plainAttention(config, weights, `${module}.self_attn`, {
        bias: config.attention_bias,
        outputBias: false,
      }),
      mlp: glmMlp(sparse, weights, `${module}.mlp`, index),
    }));
  },
});

const hunyuanSchema = z.looseObject({
  ...sparseConfigFields,
  intermediate_size: sizeSchema,
  moe_intermediate_size: sizeSchema,
  num_shared_experts: countSchema.default(1),
  router_scaling_factor: z.number().default(1),
  mlp_bias: z.boolean().default(false),
  mlp_layer_types: mlpTypesSchema,
});

/** Hy3. */
export const hyV3 = defineArchitecture({
  name: "hy_v3",
  hfNames: ["HYV3ForCausalLM"],
  features: [
    `${ROUTER}, shared experts, dense layers by mlp_layer_types`,
    "q and k norms per head, biases",
    ROPE_TYPES,
  ],
  reading: { defaults: classDefaults("hy_v3") },
  config: hunyuanSchema,
  assumes: { first_k_dense_replace: 1, qk_norm: true },
  build(b, config, weights) {
    const { hidden_size: hidden, hidden_act: activation, mlp_bias: bias } = config;
    const { moe_intermediate_size: intermediate, num_shared_experts: shared } = config;
    const dense = { hidden, intermediate: config.intermediate_size, activation, bias };
    const mlp = (module: string, index: number) =>
      isSparseLayer(config.mlp_layer_types, index, 1)
        ? routedMlp(weights, [module], {
          ...{ hidden, intermediate, activation },
          experts: config.num_experts,
          topK: config.num_experts_per_tok,
          scoring: "sigmoid",
          gates: ["router.gate", "gate"],
          corrections: ["expert_bias", "e_score_correction_bias"],
          renormalize: { offset: 1e-20 },
          scale: config.router_scaling_factor,
          shared: {
            names: ["shared_mlp", "shared_experts"],
            // With no shared experts the class takes the size of its dense layers.
            intermediate: shared * intermediate || config.intermediate_size,
            bias,
          },
        })
        : denseMlp(weights, module, dense);
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, { bias: config.attention_bias }),
        qkNorm: headNorms(config, weights, `${module}.self_attn`),
      },
      mlp: mlp(`${module}.mlp`, index),
    }));
  },
});

const minimaxSchema = z.looseObject({ ...sparseConfigFields, intermediate_size: sizeSchema });

/** MiniMax-M2. */
export const minimaxM2 = defineArchitecture({
  name: "minimax_m2",
  hfNames: ["MiniMaxM2ForCausalLM"],
  features: [
    ROUTER,
    "q and k norms over all heads, partial rotary (rotary_dim too)",
    ROPE_TYPES,
  ],
  reading: {
    defaults: classDefaults("minimax_m2"),
    names: { num_local_experts: "num_experts" },
    rope: { partial: "reads", rotaryDim: true },
  },
  config: minimaxSchema,
  assumes: { scoring_func: "sigmoid", use_qk_norm: true },
  build(b, config, weights) {
    const { num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: dim } = config;
    decoder(b, config, weights, (_index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`),
        qkNorm: {
          over: "all",
          q: normWeight(weights, `${module}.self_attn.q_norm`, heads * dim),
          k: normWeight(weights, `${module}.self_attn.k_norm`, kvHeads * dim),
          eps: config.rms_norm_eps,
        },
      },
      mlp: routedMlp(weights, [`${module}.block_sparse_moe`, `${module}.mlp`], {
        experts: config.num_experts,
        hidden: config.hidden_size,
        intermediate: config.intermediate_size,
        topK: config.num_experts_per_tok,
        scoring: "sigmoid",
        corrections: ["e_score_correction_bias"],
        source: NUMBERED_NAMES,
        renormalize: true,
        activation: config.hidden_act,
      }),
    }));
  },
});
