/**
 * Command A+: attention and experts side by side behind one norm, RoPE of adjacent pairs in sliding
 * layers alone, shared experts that are averaged with the chosen ones. After `modeling_cohere2_moe.py`
 * of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import {
  countSchema,
  layerTypesSchema,
  mlpTypesSchema,
  sizeSchema,
  sparseConfigFields,
} from "../config/config_fields.ts";
import { decoder, plainAttention } from "../blocks/decoder.ts";
import { scaled } from "../blocks/basic.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import { denseMlp, type MlpBuilder } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";
import { rotaryOf } from "../blocks/rotary.ts";
import { routedMlp } from "../blocks/routed_mlp.ts";

const epsilon = z.number().positive().max(1);

const configSchema = z.looseObject({
  ...sparseConfigFields,
  // Its norms are LayerNorms unless the config has this key.
  rms_norm_eps: epsilon.optional(),
  layer_norm_eps: epsilon.default(1e-5),
  intermediate_size: sizeSchema,
  prefix_dense_intermediate_size: sizeSchema.optional(),
  logit_scale: z.number().default(0.0625),
  sliding_window: sizeSchema.optional(),
  sliding_window_pattern: sizeSchema.default(4),
  prefix_dense_sliding_window_pattern: sizeSchema.default(1),
  first_k_dense_replace: countSchema.default(0),
  layer_types: layerTypesSchema,
  mlp_layer_types: mlpTypesSchema,
  num_shared_experts: countSchema.default(0),
  shared_expert_combination_strategy: z.enum(["average", "sum"]).default("average"),
  expert_selection_fn: z.enum(["softmax", "sigmoid"]).default("softmax"),
  norm_topk_prob: z.boolean().default(true),
}).transform(({ rms_norm_eps: rms, ...config }) => ({
  ...config,
  normed_by: rms === undefined ? "layer" as const : "rms" as const,
  rms_norm_eps: rms ?? config.layer_norm_eps,
}));

type Config = z.output<typeof configSchema>;

/** Command A+. */
export const cohere2Moe = defineArchitecture({
  name: "cohere2_moe",
  hfNames: ["Cohere2MoeForCausalLM"],
  features: [
    "attention and MLP side by side behind one LayerNorm or RMSNorm, scale of logits",
    "softmax or sigmoid over the chosen experts, shared experts added or averaged",
    "dense layers by mlp_layer_types, biases, tied embeddings",
    "sliding window by layer_types, RoPE of adjacent pairs there alone",
    ROPE_TYPES,
  ],
  // Its class declares rope_scaling, and so does not make parameters of it.
  reading: { defaults: classDefaults("cohere2_moe"), rope: { newKeysOnly: true } },
  config: configSchema,
  build(b, config, weights) {
    const rotary = rotaryOf(config, { layout: "interleaved" });
    decoder(b, config, weights, (index, module) => {
      const sliding = slides(config, index);
      const dense = isDense(config, index);
      const turns = sliding || (dense && config.prefix_dense_sliding_window_pattern === 1);
      return {
        attention: {
          ...plainAttention(config, weights, `${module}.self_attn`, {
            bias: config.attention_bias,
            rotary: turns ? rotary : null,
          }),
          window: sliding ? config.sliding_window : undefined,
        },
        mlp: mlpOf(config, weights, `${module}.mlp`, dense),
        norms: { beforeAttention: "input_layernorm" },
        parallel: true,
      };
    }, { norm: config.normed_by, logitScale: config.logit_scale });
  },
});

/** Without a window nothing slides, and nothing turns either. */
function slides(config: Config, index: number): boolean {
  const { layer_types: types, first_k_dense_replace: first } = config;
  if (config.sliding_window === undefined) return false;
  if (types) return types[index] === "sliding_attention";
  return index < first
    ? (index + 1) % config.prefix_dense_sliding_window_pattern !== 0
    : (index - first + 1) % config.sliding_window_pattern !== 0;
}

function isDense({ mlp_layer_types: types, ...config }: Config, index: number): boolean {
  return types ? types[index] === "dense" : index < config.first_k_dense_replace;
}

function mlpOf(config: Config, weights: ModelWeights, module: string, dense: boolean): MlpBuilder {
  const { hidden_size: hidden, hidden_act: activation, intermediate_size: intermediate } = config;
  if (dense) {
    const own = config.prefix_dense_intermediate_size ?? intermediate;
    return denseMlp(weights, module, { hidden, intermediate: own, activation });
  }
  const { num_shared_experts: shared, expert_selection_fn: scoring } = config;
  const routed = routedMlp(weights, [module], {
    ...{ hidden, intermediate, activation },
    experts: config.num_experts,
    topK: config.num_experts_per_tok,
    scoring: scoring === "softmax" ? "softmax_chosen" : "sigmoid_chosen",
    ...(scoring === "sigmoid" && { renormalize: config.norm_topk_prob }),
    shared: shared > 0
      ? { names: ["shared_experts"], intermediate: shared * intermediate }
      : undefined,
  });
  const averaged = shared > 0 && config.shared_expert_combination_strategy === "average";
  return averaged ? (b, x) => scaled(b, routed(b, x), 0.5) : routed;
}
