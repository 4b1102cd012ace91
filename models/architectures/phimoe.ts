/**
 * Phi-3.5-MoE: LayerNorm, biases everywhere, LongRoPE, and the sparse mixer's choice of two experts.
 * After `modeling_phimoe.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { sizeSchema, sparseConfigFields } from "../config/config_fields.ts";
import { decoder, plainAttention } from "../blocks/decoder.ts";
import { NUMBERED_NAMES } from "../weights/model_weights.ts";
import { type RopeParameters, ropeSchema } from "../config/rope.ts";
import { rotaryOf, type RotarySpec } from "../blocks/rotary.ts";
import { routedMlp } from "../blocks/routed_mlp.ts";

/** Experts of a token. */
const CHOSEN = 2;

const scalesSchema = z.looseObject({
  short_mscale: z.number(),
  long_mscale: z.number(),
  original_max_position_embeddings: z.number(),
});

const configSchema = z.looseObject({
  ...sparseConfigFields,
  rope_parameters: ropeSchema.superRefine((parameters, context) => {
    if (parameters.rope_type === "default") return;
    const { error } = scalesSchema.safeParse(parameters, { reportInput: true });
    for (const issue of error?.issues ?? []) context.addIssue({ ...issue });
  }),
  // The sparse mixer chooses one expert, and one more among the others, whatever a config says.
  num_experts_per_tok: z.unknown().transform(() => CHOSEN),
  intermediate_size: sizeSchema,
  sliding_window: sizeSchema.optional(),
  lm_head_bias: z.boolean().default(false),
  router_jitter_noise: z.number().nonnegative().default(0.01),
});

/** Phi-3.5-MoE. */
export const phimoe = defineArchitecture({
  name: "phimoe",
  hfNames: ["PhimoeForCausalLM", "PhiMoEForCausalLM"],
  features: [
    "sparse mixer of two experts",
    "LayerNorm, biases of attention and head, sliding window",
    "RoPE: default, longrope with short_mscale and long_mscale, others as modeling_rope_utils.py",
  ],
  reading: {
    defaults: classDefaults("phimoe"),
    names: { num_local_experts: "num_experts" },
    // The rotary embedding is made anew for each step and never told how long a sequence is.
    rope: { anyLength: ["longrope", "dynamic"], ownContext: true },
  },
  config: configSchema,
  remarks: ({ num_experts_per_tok: count }) =>
    count === CHOSEN
      ? []
      : [`num_experts_per_tok ${count} has no effect: the sparse mixer chooses ${CHOSEN} experts`],
  build(b, config, weights, { maxSeqLen }) {
    const rotary = scaledRotary(rotaryOf(config), config.rope_parameters, maxSeqLen);
    decoder(b, config, weights, (_index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, {
          bias: config.attention_bias,
          rotary,
        }),
        window: config.sliding_window,
      },
      mlp: routedMlp(weights, [`${module}.block_sparse_moe`, `${module}.mlp`], {
        experts: config.num_experts,
        hidden: config.hidden_size,
        intermediate: config.intermediate_size,
        topK: CHOSEN,
        scoring: "sparse_mixer",
        jitter: config.router_jitter_noise,
        gates: ["gate", "router"],
        source: NUMBERED_NAMES,
        activation: config.hidden_act,
      }),
    }), { norm: "layer", normBias: true, headBias: config.lm_head_bias });
  },
});

/**
 * transformers takes the short factors whatever the length, and scales cos and sin by `short_mscale`
 * or, past the pretrained length, `long_mscale`; every type but `default` needs the three numbers.
 */
function scaledRotary(
  rotary: RotarySpec,
  parameters: RopeParameters,
  maxSeqLen: number,
): RotarySpec {
  if (parameters.rope_type === "default") return rotary;
  const { short_mscale: short, long_mscale: long } = scalesSchema.parse(parameters);
  const context = Number(parameters.original_max_position_embeddings);
  const attentionScaling = maxSeqLen > context ? long : short;
  return { ...rotary, frequencies: { ...rotary.frequencies, attentionScaling } };
}
