/**
 * Gemma 3's text model, which is dense: norms of 1 + weight around every block and over each head of q and
 * k, five sliding layers for each that sees everything, a base of the rotary embedding for each of the two.
 * After `modeling_gemma3.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { hiddenActSchema } from "../blocks/activation.ts";
import { defineArchitecture } from "../architecture.ts";
import type { AttentionSpec } from "../blocks/attention.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { layerTypesSchema, sizeSchema } from "../config/config_fields.ts";
import { decoder, headNorms, plainAttention } from "../blocks/decoder.ts";
import { baseConfigFields } from "../config/hf_config.ts";
import type { ModelWeights } from "../weights/model_weights.ts";
import { denseMlp } from "../blocks/moe_block.ts";
import { ropeFrequencies, ropeSchema } from "../config/rope.ts";

const configSchema = z.looseObject({
  ...baseConfigFields,
  rope_parameters: z.object({ sliding_attention: ropeSchema, full_attention: ropeSchema }),
  hidden_activation: hiddenActSchema,
  attention_bias: z.boolean().default(false),
  intermediate_size: sizeSchema,
  query_pre_attn_scalar: z.number().positive(),
  sliding_window: sizeSchema,
  sliding_window_pattern: sizeSchema.default(6),
  layer_types: layerTypesSchema,
  final_logit_softcapping: z.number().positive().nullish(),
  use_bidirectional_attention: z.literal(false).nullish(),
});

type Config = z.output<typeof configSchema>;

/** The wrapper of text and vision; its logits have no soft cap, whatever the config says. */
const WRAPPER = "Gemma3ForConditionalGeneration";

/** Added to the weights of norms. */
const NORM_OFFSET = 1;

/** Gemma 3 of 270M to 27B. */
export const gemma3 = defineArchitecture({
  name: "gemma3_text",
  hfNames: ["Gemma3ForCausalLM", WRAPPER],
  features: [
    "dense; norms of 1 + weight around both blocks and over heads of q and k",
    "sliding window and base of RoPE by layer type, query_pre_attn_scalar, biases",
    "scaled embeddings, soft cap of logits, tied embeddings",
    "RoPE: default, linear, yarn, llama3 by layer type",
  ],
  notes: ["a dense model: the transforms for experts have nothing to do"],
  reading: {
    defaults: classDefaults("gemma3_text"),
    rope: {
      byType: {
        sliding_attention: { theta: 1e4, key: "rope_local_base_freq" },
        full_attention: { theta: 1e6, key: "rope_theta", scaling: true },
      },
    },
  },
  config: configSchema,
  remarks: ({ architectures, final_logit_softcapping: cap }) =>
    typeof cap === "number" && Array.isArray(architectures) && architectures[0] === WRAPPER
      ? [`final_logit_softcapping ${cap} has no effect: ${WRAPPER} does not read it`]
      : [],
  build(b, config, weights) {
    const { hidden_size: hidden, intermediate_size: intermediate } = config;
    const mlp = { hidden, intermediate, activation: config.hidden_activation };
    const capped = config.architectures[0] !== WRAPPER;
    decoder(b, config, weights, (index, module) => ({
      attention: attentionOf(config, weights, index, `${module}.self_attn`),
      mlp: denseMlp(weights, `${module}.mlp`, mlp),
      norms: {
        beforeAttention: "input_layernorm",
        afterAttention: "post_attention_layernorm",
        beforeMlp: "pre_feedforward_layernorm",
        afterMlp: "post_feedforward_layernorm",
      },
    }), {
      normOffset: NORM_OFFSET,
      embeddingScale: Math.sqrt(hidden),
      logitCap: capped ? config.final_logit_softcapping ?? undefined : undefined,
    });
  },
});

/** Without a list every sixth layer sees everything, or as `sliding_window_pattern` says. */
function isSliding({ layer_types: types, sliding_window_pattern: every }: Config, index: number) {
  return types ? types[index] === "sliding_attention" : (index + 1) % every !== 0;
}

function attentionOf(
  config: Config,
  weights: ModelWeights,
  index: number,
  module: string,
): AttentionSpec {
  const sliding = isSliding(config, index);
  const parameters = config.rope_parameters[sliding ? "sliding_attention" : "full_attention"];
  const { head_dim: headDim, max_position_embeddings: positions } = config;
  const frequencies = ropeFrequencies(parameters, headDim, positions);
  return {
    ...plainAttention(config, weights, module, {
      bias: config.attention_bias,
      rotary: { frequencies, layout: "half" },
    }),
    scale: config.query_pre_attn_scalar ** -0.5,
    qkNorm: headNorms(config, weights, module, { offset: NORM_OFFSET }),
    window: sliding ? config.sliding_window : undefined,
  };
}
