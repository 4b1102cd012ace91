/**
 * Mixtral: grouped-query attention and a softmax router whose weights are renormalised. After
 * `modeling_mixtral.py` of transformers. On the hub the gate is `w1`, the down projection `w2`, the
 * up projection `w3`.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineArchitecture } from "../architecture.ts";
import { decoder, plainAttention } from "../decoder.ts";
import { baseConfigFields, moeConfigFields } from "../hf_config.ts";
import { ROTARY_BUFFERS, TIED_HEAD } from "../ignored_tensors.ts";
import { sparseMlp } from "../moe_block.ts";

const configSchema = z.looseObject({
  ...baseConfigFields,
  ...moeConfigFields,
  hidden_act: z.literal("silu"),
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
    "RoPE: default, linear, dynamic (within the pretrained length), llama3, yarn",
  ],
  config: configSchema,
  ignoredTensors: [ROTARY_BUFFERS, TIED_HEAD],
  build(b, config, weights) {
    decoder(b, config, weights, (_index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`),
        window: config.sliding_window,
      },
      mlp: sparseMlp(weights, {
        modules: [`${module}.block_sparse_moe`, `${module}.mlp`],
        names: { gate: "w1", up: "w3", down: "w2" },
        experts: config.num_experts,
        hidden: config.hidden_size,
        intermediate: config.intermediate_size,
        topK: config.num_experts_per_tok,
        renormalize: true,
      }),
    }));
  },
});
