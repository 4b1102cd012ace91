/**
 * DeepSeek-V2 and V3, GLM-4.7-Flash, A.X-K1 and Mistral 4: multi-head latent attention, routed experts in
 * groups beside shared ones, first layers dense. After `modeling_deepseek_v2.py`, `modeling_deepseek_v3.py`,
 * `modeling_glm4_moe_lite.py`, `modeling_axk1.py` and `modeling_mistral4.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineArchitecture } from "../architecture.ts";
import type { Temperature } from "../blocks/attention.ts";
import { classDefaults } from "../config/class_defaults.ts";
import {
  countSchema,
  groupConfigFields,
  isSparseLayer,
  mlpTypesSchema,
  sizeSchema,
  sparseConfigFields,
} from "../config/config_fields.ts";
import { decoder, type LayerNorms, PRE_NORMS } from "../blocks/decoder.ts";
import { latentAttention } from "../blocks/mla.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import { denseMlp, type MlpBuilder } from "../blocks/moe_block.ts";
import { rotaryOf } from "../blocks/rotary.ts";
import { CORRECTION, groupsOf, routedMlp, type RoutedMlpSpec } from "../blocks/routed_mlp.ts";

const latentFields = {
  ...sparseConfigFields,
  // Heads have sizes of their own; what the config says of head_dim is not read, right or wrong.
  head_dim: sizeSchema.catch(1),
  intermediate_size: sizeSchema,
  moe_intermediate_size: sizeSchema,
  n_shared_experts: countSchema.default(0),
  q_lora_rank: sizeSchema.optional(),
  kv_lora_rank: sizeSchema,
  qk_nope_head_dim: sizeSchema,
  qk_rope_head_dim: sizeSchema.multipleOf(2),
  v_head_dim: sizeSchema,
};

const v2Schema = z.looseObject({
  ...latentFields,
  first_k_dense_replace: countSchema.default(0),
  n_group: sizeSchema.optional(),
  topk_group: sizeSchema.optional(),
  topk_method: z.enum(["greedy", "group_limited_greedy"]).default("greedy"),
  mlp_bias: z.boolean().default(false),
  routed_scaling_factor: z.number().default(1),
});

const v3Fields = {
  ...latentFields,
  ...groupConfigFields,
  rope_interleave: z.boolean().default(true),
};

const v3Schema = z.looseObject({
  ...v3Fields,
  first_k_dense_replace: countSchema.default(0),
});

const liteSchema = z.looseObject({ ...v3Fields, mlp_layer_types: mlpTypesSchema });

/** What all of them read; `mlp_bias` is DeepSeek-V2's alone. */
type Config = z.output<z.ZodObject<typeof latentFields>> & { readonly mlp_bias?: boolean };

const FEATURES = [
  "multi-head latent attention, compressed cache",
  "shared experts, first layers dense",
  "RoPE of adjacent pairs: default, linear, yarn with mscale",
];

const NAMES = { n_routed_experts: "num_experts" };

/** DeepSeek-V2, V2-Lite and Coder-V2. */
export const deepseekV2 = defineArchitecture({
  name: "deepseek_v2",
  hfNames: ["DeepseekV2ForCausalLM"],
  features: ["softmax router, group-limited where topk_method says so", ...FEATURES],
  reading: { defaults: classDefaults("deepseek_v2"), names: NAMES },
  config: v2Schema,
  assumes: { scoring_func: "softmax", moe_layer_freq: 1, norm_topk_prob: false },
  build(b, config, weights) {
    const grouped = config.topk_method === "group_limited_greedy";
    build(b, config, weights, {
      interleaved: true,
      sparse: (index) => index >= config.first_k_dense_replace,
      router: {
        scoring: "softmax",
        groups: grouped ? groupsOf(config.n_group, config.topk_group, "best") : undefined,
        scale: config.routed_scaling_factor,
      },
    });
  },
});

/** DeepSeek-V3, R1, Kimi-K2, and the text of Kimi-K2.5. */
export const deepseekV3 = defineArchitecture({
  name: "deepseek_v3",
  hfNames: [
    "DeepseekV3ForCausalLM",
    "KimiK25ForConditionalGeneration",
    "Kimi_K25ForConditionalGeneration",
  ],
  features: ["sigmoid router with correction and groups", ...FEATURES],
  reading: { defaults: classDefaults("deepseek_v3"), names: NAMES },
  config: v3Schema,
  assumes: { scoring_func: "sigmoid", topk_method: "noaux_tc", moe_layer_freq: 1 },
  build: (b, config, weights) =>
    buildV3(b, config, weights, (index) => index >= config.first_k_dense_replace),
});

/** GLM-4.7-Flash. */
export const glm4MoeLite = defineArchitecture({
  name: "glm4_moe_lite",
  hfNames: ["Glm4MoeLiteForCausalLM"],
  features: ["sigmoid router with correction and groups", ...FEATURES],
  reading: {
    defaults: classDefaults("glm4_moe_lite"),
    names: NAMES,
    rope: { partial: "refuses" },
  },
  config: liteSchema,
  assumes: { scoring_func: "sigmoid", topk_method: "noaux_tc", first_k_dense_replace: 1 },
  build: (b, config, weights) =>
    buildV3(b, config, weights, (index) => isSparseLayer(config.mlp_layer_types, index, 1)),
});

/** A.X-K1: DeepSeek-V3 with a norm behind the experts. */
export const axk1 = defineArchitecture({
  name: "axk1",
  hfNames: ["AXK1ForCausalLM"],
  features: [
    "sigmoid router with correction and groups, norm behind the experts",
    ...FEATURES,
  ],
  reading: { defaults: classDefaults("axk1"), names: NAMES },
  config: v3Schema,
  assumes: { scoring_func: "sigmoid", topk_method: "noaux_tc", moe_layer_freq: 1 },
  build: (b, config, weights) =>
    buildV3(
      b,
      config,
      weights,
      (index) => index >= config.first_k_dense_replace,
      ["post_mlp_layernorm", "mlp.post_mlp_layernorm"],
    ),
});

/** Mistral 4 grows with the position what other families leave to the rotary embedding. */
const mistralSchema = z.looseObject({
  ...v3Fields,
  first_k_dense_replace: countSchema.default(0),
}).superRefine(({ rope_parameters: rope, ...config }, context) => {
  const refuse = (key: string, message: string, input: unknown) =>
    context.addIssue({ code: "custom", path: ["rope_parameters", key], message, input });
  // transformers' class fails without these.
  if (typeof rope.llama_4_scaling_beta !== "number") {
    refuse("llama_4_scaling_beta", "a number", rope.llama_4_scaling_beta);
  }
  if (typeof rope.original_max_position_embeddings !== "number") {
    refuse("original_max_position_embeddings", "a number", rope.original_max_position_embeddings);
  }
  const { qk_rope_head_dim: turning, qk_nope_head_dim: nope } = config;
  if (rope.rope_type === "default" && nope > 0) {
    refuse("rope_type", "a type that reads partial_rotary_factor, such as yarn", rope.rope_type);
  }
  const part = rope.partial_rotary_factor ?? turning / (turning + nope);
  if (Math.floor((turning + nope) * part) !== turning) {
    const message = `qk_rope_head_dim / (qk_nope_head_dim + qk_rope_head_dim)`;
    refuse("partial_rotary_factor", message, rope.partial_rotary_factor);
  }
});

/** Mistral-Small-4. */
export const mistral4 = defineArchitecture({
  name: "mistral4",
  hfNames: ["Mistral4ForCausalLM"],
  features: [
    "softmax router with groups, renormalised, temperature by position",
    ...FEATURES,
  ],
  reading: {
    defaults: classDefaults("mistral4"),
    names: NAMES,
    rope: {
      partial: "reads",
      whenMissing: {
        ...{ rope_type: "yarn", rope_theta: 10000, factor: 128, beta_fast: 32, beta_slow: 1 },
        ...{ original_max_position_embeddings: 8192, mscale_all_dim: 1, mscale: 1 },
        llama_4_scaling_beta: 0.1,
      },
    },
  },
  config: mistralSchema,
  assumes: { scoring_func: "softmax" },
  build(b, config, weights) {
    const { rope_parameters: { partial_rotary_factor: _, ...rope } } = config;
    build(b, { ...config, rope_parameters: rope }, weights, {
      interleaved: config.rope_interleave,
      sparse: (index) => index >= config.first_k_dense_replace,
      temperature: {
        scale: Number(rope.llama_4_scaling_beta),
        floor: Number(rope.original_max_position_embeddings),
        first: 0,
      },
      router: {
        scoring: "softmax",
        groups: groupsOf(config.n_group, config.topk_group, "two_best"),
        renormalize: config.norm_topk_prob && { offset: 1e-20 },
        scale: config.routed_scaling_factor,
      },
    });
  },
});

type Build = Parameters<Parameters<typeof defineArchitecture>[0]["build"]>;

function buildV3(
  b: Build[0],
  config: z.output<z.ZodObject<typeof v3Fields>>,
  weights: ModelWeights,
  sparse: Variant["sparse"],
  normNames: Variant["normNames"] = [],
): void {
  build(b, config, weights, {
    interleaved: config.rope_interleave,
    ...{ sparse, normNames },
    router: {
      scoring: "sigmoid",
      corrections: CORRECTION,
      groups: groupsOf(config.n_group, config.topk_group, "two_best"),
      renormalize: config.norm_topk_prob && { offset: 1e-20 },
      scale: config.routed_scaling_factor,
    },
  });
}

interface Variant {
  readonly interleaved: boolean;
  /** Names of a norm behind the experts; the first that is there counts. */
  readonly normNames?: readonly string[];
  readonly sparse: (index: number) => boolean;
  /** Of queries. */
  readonly temperature?: Temperature;
  readonly router: Pick<
    RoutedMlpSpec,
    "scoring" | "corrections" | "groups" | "renormalize" | "scale"
  >;
}

function build(b: Build[0], config: Config, weights: ModelWeights, variant: Variant): void {
  const rotary = rotaryOf(config, {
    layout: variant.interleaved ? "interleaved" : "half",
    headDim: config.qk_rope_head_dim,
  });
  decoder(b, config, weights, (index, module) => ({
    attention: latentAttention(
      config,
      weights,
      `${module}.self_attn`,
      rotary,
      variant.temperature,
    ),
    mlp: mlpOf(config, weights, `${module}.mlp`, variant, index),
    norms: normsOf(weights, module, variant, index),
  }));
}

function normsOf(
  weights: ModelWeights,
  module: string,
  { sparse, normNames = [] }: Variant,
  index: number,
): LayerNorms {
  if (normNames.length === 0 || !sparse(index)) return PRE_NORMS;
  const path = weights.findModule(normNames.map((name) => `${module}.${name}`), "weight");
  return { ...PRE_NORMS, afterMlp: path.slice(module.length + 1) };
}

function mlpOf(
  config: Config,
  weights: ModelWeights,
  module: string,
  { sparse, router }: Variant,
  index: number,
): MlpBuilder {
  const { hidden_size: hidden, hidden_act: activation, mlp_bias: bias = false } = config;
  if (!sparse(index)) {
    const { intermediate_size: intermediate } = config;
    return denseMlp(weights, module, { hidden, intermediate, activation, bias });
  }
  const { moe_intermediate_size: intermediate, n_shared_experts: shared } = config;
  return routedMlp(weights, [module], {
    experts: config.num_experts,
    ...{ hidden, intermediate, activation },
    topK: config.num_experts_per_tok,
    ...router,
    shared: shared > 0 || bias
      ? { names: ["shared_experts"], intermediate: shared * intermediate, bias }
      : undefined,
  });
}
