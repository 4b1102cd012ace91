/**
 * Gemma 4's text model with experts: sizes of heads and rotary embedding by layer type, keys that are
 * values, norms around every block, a dense MLP beside the experts, a router with a norm and scales of
 * its own. After `modeling_gemma4.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { hiddenActSchema } from "../blocks/activation.ts";
import { defineArchitecture } from "../architecture.ts";
import type { AttentionSpec } from "../blocks/attention.ts";
import { rmsNorm, scaled } from "../blocks/basic.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { layerTypesSchema, sizeSchema } from "../config/config_fields.ts";
import { decoder, headNorms, normWeight, plainAttention } from "../blocks/decoder.ts";
import { baseConfigFields } from "../config/hf_config.ts";
import { type ModelWeights, PROJECTION_NAMES } from "../weights/model_weights.ts";
import { denseMlp, expertLoop, gatedMlp, type MlpBuilder } from "../blocks/moe_block.ts";
import { route } from "../blocks/moe_router.ts";
import { ropeFrequencies, ropeSchema } from "../config/rope.ts";

const TYPES = ["sliding_attention", "full_attention"] as const;

const configSchema = z.looseObject({
  enable_moe_block: z.boolean(),
  // Not implemented: the small dense models have them.
  hidden_size_per_layer_input: z.literal(0),
  num_kv_shared_layers: z.literal(0).default(0),
  ...baseConfigFields,
  rope_parameters: z.object({ sliding_attention: ropeSchema, full_attention: ropeSchema }),
  num_experts: sizeSchema.optional(),
  num_experts_per_tok: sizeSchema.optional(),
  hidden_activation: hiddenActSchema,
  attention_bias: z.boolean().default(false),
  attention_k_eq_v: z.boolean().default(false),
  use_bidirectional_attention: z.literal("vision").nullish(),
  intermediate_size: sizeSchema,
  moe_intermediate_size: sizeSchema.optional(),
  sliding_window: sizeSchema,
  layer_types: layerTypesSchema,
  final_logit_softcapping: z.number().positive().nullish(),
  global_head_dim: sizeSchema.default(512),
  num_global_key_value_heads: sizeSchema.nullish(),
  per_layer_config: z.record(
    z.string(),
    z.looseObject({ head_dim: sizeSchema.optional(), num_key_value_heads: sizeSchema.optional() }),
  ).optional(),
}).superRefine((config, context) => {
  for (const key of ["num_experts", "num_experts_per_tok", "moe_intermediate_size"] as const) {
    if (!config.enable_moe_block || config[key] !== undefined) continue;
    context.addIssue({ code: "invalid_type", expected: "number", path: [key], input: undefined });
  }
});

type Config = z.output<typeof configSchema>;

/** Gemma-4-26B-A4B, and dense models without inputs by layer such as Gemma-4-31B. */
export const gemma4 = defineArchitecture({
  name: "gemma4_text",
  hfNames: ["Gemma4ForCausalLM", "Gemma4ForConditionalGeneration"],
  features: [
    "head size, key heads and RoPE by layer type, keys that are values, sliding window",
    "dense MLP beside the experts, norms around both, router with norm and scales; or dense alone",
    "scaled embeddings, soft cap of logits, tied embeddings",
    "RoPE: default, proportional, linear, yarn, llama3 by layer type",
  ],
  reading: {
    defaults: classDefaults("gemma4_text"),
    names: { top_k_experts: "num_experts_per_tok" },
    rope: {
      newKeysOnly: true,
      layerTypes: TYPES,
      partial: "reads",
      whenMissing: {
        sliding_attention: { rope_type: "default", rope_theta: 1e4 },
        full_attention: {
          rope_type: "proportional",
          partial_rotary_factor: 0.25,
          rope_theta: 1e6,
        },
      },
    },
  },
  config: configSchema,
  remarks: ({ enable_moe_block: sparse }) =>
    sparse ? [] : ["a dense model: the transforms for experts have nothing to do"],
  assumes: { query_pre_attn_scalar: undefined },
  build(b, config, weights) {
    decoder(b, config, weights, (index, module) => ({
      attention: attentionOf(config, weights, index, `${module}.self_attn`),
      mlp: config.enable_moe_block
        ? sparseMlpOf(config, weights, module)
        : denseMlp(weights, `${module}.mlp`, denseOf(config)),
      mlpName: config.enable_moe_block ? "" : "mlp",
      norms: {
        beforeAttention: "input_layernorm",
        afterAttention: "post_attention_layernorm",
        // With experts each branch norms the residual in its own way.
        ...(!config.enable_moe_block && { beforeMlp: "pre_feedforward_layernorm" }),
        afterMlp: "post_feedforward_layernorm",
      },
      outputScale: weights.vector(`${module}.layer_scalar`, 1),
    }), {
      embeddingScale: Math.sqrt(config.hidden_size),
      logitCap: config.final_logit_softcapping ?? undefined,
    });
  },
});

/** Five sliding layers, one full; the last is always full. */
function layerType({ layer_types: types, num_hidden_layers: count }: Config, index: number) {
  if (index === count - 1) return "full_attention";
  return types?.[index] ?? ((index + 1) % 6 === 0 ? "full_attention" : "sliding_attention");
}

/** Head size and key heads of a layer. */
function headsOf(config: Config, index: number) {
  const own = config.per_layer_config?.[String(index)];
  const full = layerType(config, index) === "full_attention" && !config.per_layer_config;
  const globalHeads = config.attention_k_eq_v ? config.num_global_key_value_heads : undefined;
  return {
    headDim: own?.head_dim ?? (full ? config.global_head_dim : config.head_dim),
    kvHeads: own?.num_key_value_heads ??
      (full ? globalHeads ?? config.num_key_value_heads : config.num_key_value_heads),
  };
}

function attentionOf(
  config: Config,
  weights: ModelWeights,
  index: number,
  module: string,
): AttentionSpec {
  const type = layerType(config, index);
  const { headDim, kvHeads } = headsOf(config, index);
  const { max_position_embeddings: positions, rms_norm_eps: eps } = config;
  const frequencies = ropeFrequencies(config.rope_parameters[type], headDim, positions);
  return {
    ...plainAttention(config, weights, module, {
      bias: config.attention_bias,
      keysAreValues: config.attention_k_eq_v && type === "full_attention",
      rotary: { frequencies, layout: "half" },
      ...{ headDim, kvHeads },
    }),
    scale: 1,
    qkNorm: headNorms(config, weights, module, { headDim }),
    valueNorm: { eps },
    window: type === "sliding_attention" ? config.sliding_window : undefined,
  };
}

function denseOf({ hidden_size: hidden, intermediate_size: intermediate, ...others }: Config) {
  return { hidden, intermediate, activation: others.hidden_activation };
}

/** Reads the residual stream itself; each branch norms it in its own way. */
function sparseMlpOf(config: Config, weights: ModelWeights, module: string): MlpBuilder {
  const { hidden_size: hidden, rms_norm_eps: eps, num_experts: experts = 0 } = config;
  const { hidden_activation: activation, moe_intermediate_size: inner = 0 } = config;
  const normed = (name: string) => normWeight(weights, `${module}.${name}`, hidden);
  const norms = {
    dense: normed("pre_feedforward_layernorm"),
    afterDense: normed("post_feedforward_layernorm_1"),
    experts: normed("pre_feedforward_layernorm_2"),
    afterExperts: normed("post_feedforward_layernorm_2"),
  };
  const dense = denseMlp(weights, `${module}.mlp`, denseOf(config));
  const routerScale = weights.vector(`${module}.router.scale`, hidden);
  const router = {
    name: "router",
    weight: weights.matrix(`${module}.router.proj`, experts, hidden),
    topK: config.num_experts_per_tok ?? 0,
    scoring: "softmax",
    renormalize: true,
    expertScale: weights.vector(`${module}.router.per_expert_scale`, experts),
    prepare: (b, x) => scaled(b, rmsNorm(b, "norm", x, routerScale, eps), hidden ** -0.5),
  } satisfies Parameters<typeof route>[2];
  const sizes = { experts, hidden, intermediate: inner };
  const mlps = weights.experts(module, PROJECTION_NAMES, sizes);
  return (b, x) => {
    const input = rmsNorm(b, "pre_feedforward_layernorm", x, norms.dense, eps);
    const wide = b.within("mlp", () => dense(b, input));
    const first = rmsNorm(b, "post_feedforward_layernorm_1", wide, norms.afterDense, eps);
    const routing = route(b, x, router);
    const rows = rmsNorm(b, "pre_feedforward_layernorm_2", x, norms.experts, eps);
    const routed = expertLoop(
      b,
      rows,
      routing,
      experts,
      (b, rows, expert) => gatedMlp(b, rows, mlps[expert], activation),
    );
    const second = rmsNorm(b, "post_feedforward_layernorm_2", routed, norms.afterExperts, eps);
    return b.op("add", { a: first, b: second });
  };
}
