/**
 * ERNIE 4.5: grouped-query attention with RoPE of adjacent pairs, a softmax router whose correction
 * takes part in the choice alone, and shared experts. After `modeling_ernie4_5_moe.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { countSchema, sizeSchema, sparseConfigFields } from "../config/config_fields.ts";
import { decoder, plainAttention } from "../blocks/decoder.ts";
import { denseMlp } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";
import { rotaryOf } from "../blocks/rotary.ts";
import { routedMlp } from "../blocks/routed_mlp.ts";

const configSchema = z.looseObject({
  ...sparseConfigFields,
  use_bias: z.boolean().default(false),
  intermediate_size: sizeSchema,
  moe_intermediate_size: sizeSchema,
  moe_num_shared_experts: countSchema.default(0),
  moe_layer_start_index: countSchema.default(1),
  moe_layer_end_index: z.int().min(-1).default(-1),
  moe_layer_interval: sizeSchema.default(1),
  moe_norm_min: z.number().nonnegative().default(1e-12),
});

/** ERNIE-4.5-21B-A3B and 300B-A47B. */
export const ernie45Moe = defineArchitecture({
  name: "ernie4_5_moe",
  hfNames: ["Ernie4_5_MoeForCausalLM"],
  features: [
    "softmax router with correction, renormalised",
    "shared experts, dense layers by start, end and interval",
    "RoPE of adjacent pairs, biases by use_bias, tied embeddings",
    ROPE_TYPES,
  ],
  reading: {
    defaults: classDefaults("ernie4_5_moe"),
    names: { moe_num_experts: "num_experts", moe_k: "num_experts_per_tok" },
  },
  config: configSchema,
  build(b, config, weights) {
    const { hidden_size: hidden, hidden_act: activation, use_bias: bias } = config;
    const { moe_layer_end_index: end, moe_num_shared_experts: shared } = config;
    const last = end === -1 ? config.num_hidden_layers - 1 : end;
    const sparse = (index: number) =>
      (index + 1) % config.moe_layer_interval === 0 && index <= last &&
      index >= config.moe_layer_start_index;
    const dense = { hidden, intermediate: config.intermediate_size, activation, bias };
    const rotary = rotaryOf(config, { layout: "interleaved" });
    decoder(b, config, weights, (index, module) => ({
      attention: plainAttention(config, weights, `${module}.self_attn`, { bias, rotary }),
      mlp: sparse(index)
        ? routedMlp(weights, [`${module}.mlp`], {
          ...{ hidden, activation, intermediate: config.moe_intermediate_size },
          experts: config.num_experts,
          topK: config.num_experts_per_tok,
          scoring: "softmax",
          corrections: [
            "moe_statics.e_score_correction_bias",
            "gate.moe_statics.e_score_correction_bias",
          ],
          renormalize: { floor: config.moe_norm_min },
          shared: shared > 0
            ? {
              names: ["shared_experts"],
              intermediate: shared * config.moe_intermediate_size,
              bias,
            }
            : undefined,
        })
        : denseMlp(weights, `${module}.mlp`, dense),
    }), { headBias: bias });
  },
});
