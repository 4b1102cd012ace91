/**
 * Mixtral: grouped-query attention and a softmax router whose weights are renormalised. After
 * `modeling_mixtral.py` of transformers. On the hub the gate is `w1`, the down projection `w2`, the
 * up projection `w3`.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { hiddenActSchema } from "../blocks/activation.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { decoder, plainAttention } from "../blocks/decoder.ts";
import { baseConfigFields, moeConfigFields } from "../config/hf_config.ts";
import { NUMBERED_NAMES } from "../weights/model_weights.ts";
import { softmaxMlp } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";

const configSchema = z.looseObject({
  ...baseConfigFields,
  ...moeConfigFields,
  hidden_act: hiddenActSchema,
  intermediate_size: z.int().positive(),
  sliding_window: z.int().positive().optional(),
});

/** Mixtral-8x7B, Mixtral-8x22B and models derived from them. */
export const mixtral = defineArchitecture({
  name: "mixtral",
  hfNames: ["MixtralForCausalLM"],
  features: [
    "grouped-query attention",
    "softmax router, renormalised",
    "sliding window, tied embeddings",
    ROPE_TYPES,
  ],
  reading: {
    defaults: classDefaults("mixtral"),
    names: { num_local_experts: "num_experts" },
  },
  config: configSchema,
  build(b, config, weights) {
    decoder(b, config, weights, (_index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`),
        window: config.sliding_window,
      },
      mlp: softmaxMlp(weights, {
        modules: [`${module}.block_sparse_moe`, `${module}.mlp`],
        source: NUMBERED_NAMES,
        experts: config.num_experts,
        hidden: config.hidden_size,
        intermediate: config.intermediate_size,
        topK: config.num_experts_per_tok,
        renormalize: true,
        activation: config.hidden_act,
      }),
    }));
  },
});
