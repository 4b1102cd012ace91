/**
 * Dense models of the same skeleton: Llama, Qwen2, Qwen3, Mistral and OLMo 2. They load so that people can try
 * the pipeline with a small model; nothing of them is a mixture of experts. After `modeling_llama.py`,
 * `modeling_qwen2.py`, `modeling_qwen3.py`, `modeling_mistral.py` and `modeling_olmo2.py` of transformers.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { hiddenActSchema } from "../blocks/activation.ts";
import { defineArchitecture } from "../architecture.ts";
import { classDefaults } from "../config/class_defaults.ts";
import { countSchema, layerTypesSchema, sizeSchema } from "../config/config_fields.ts";
import { decoder, headNorms, normWeight, plainAttention } from "../blocks/decoder.ts";
import { baseConfigFields } from "../config/hf_config.ts";
import { denseMlp } from "../blocks/moe_block.ts";
import { ROPE_TYPES } from "../config/rope.ts";

const NOTES = ["a dense model: the transforms for experts have nothing to do"];

const denseFields = {
  ...baseConfigFields,
  hidden_act: hiddenActSchema,
  intermediate_size: sizeSchema,
  attention_bias: z.boolean().default(false),
};

const llamaSchema = z.looseObject({ ...denseFields, mlp_bias: z.boolean().default(false) });

/** Llama 2, 3 and their kin. */
export const llama = defineArchitecture({
  name: "llama",
  hfNames: ["LlamaForCausalLM"],
  features: ["dense; grouped-query attention, biases, tied embeddings", ROPE_TYPES],
  notes: NOTES,
  reading: { defaults: classDefaults("llama") },
  config: llamaSchema,
  build(b, config, weights) {
    const { hidden_size: hidden, intermediate_size: intermediate } = config;
    const mlp = { hidden, intermediate, activation: config.hidden_act, bias: config.mlp_bias };
    decoder(b, config, weights, (_index, module) => ({
      attention: plainAttention(config, weights, `${module}.self_attn`, {
        bias: config.attention_bias,
      }),
      mlp: denseMlp(weights, `${module}.mlp`, mlp),
    }));
  },
});

const mistralSchema = z.looseObject({ ...denseFields, sliding_window: sizeSchema.optional() });

/** Mistral-7B and its kin. */
export const mistral = defineArchitecture({
  name: "mistral",
  hfNames: ["MistralForCausalLM"],
  features: ["dense; grouped-query attention, sliding window, tied embeddings", ROPE_TYPES],
  notes: NOTES,
  reading: { defaults: classDefaults("mistral") },
  config: mistralSchema,
  build(b, config, weights) {
    const { hidden_size: hidden, intermediate_size: intermediate } = config;
    const mlp = { hidden, intermediate, activation: config.hidden_act };
    decoder(b, config, weights, (_index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`),
        window: config.sliding_window,
      },
      mlp: denseMlp(weights, `${module}.mlp`, mlp),
    }));
  },
});

const qwenSchema = z.looseObject({
  ...denseFields,
  use_sliding_window: z.boolean().default(false),
  sliding_window: countSchema.optional(),
  max_window_layers: countSchema.default(28),
  layer_types: layerTypesSchema,
});

const qwen2Schema = qwenSchema.omit({ attention_bias: true });

/** Qwen2 and Qwen2.5. */
export const qwen2 = defineArchitecture({
  name: "qwen2",
  hfNames: ["Qwen2ForCausalLM"],
  features: [
    "dense; grouped-query attention with biases of q, k and v",
    "sliding window by layer_types, tied embeddings",
    ROPE_TYPES,
  ],
  notes: NOTES,
  reading: { defaults: classDefaults("qwen2") },
  config: qwen2Schema,
  build(b, config, weights) {
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, {
          bias: true,
          outputBias: false,
        }),
        window: slides(config, index) ? config.sliding_window : undefined,
      },
      mlp: denseMlp(weights, `${module}.mlp`, mlpOf(config)),
    }));
  },
});

/** Qwen3 without experts. */
export const qwen3 = defineArchitecture({
  name: "qwen3",
  hfNames: ["Qwen3ForCausalLM"],
  features: [
    "dense; grouped-query attention with q and k norms per head, biases",
    "sliding window by layer_types, tied embeddings",
    ROPE_TYPES,
  ],
  notes: NOTES,
  reading: { defaults: classDefaults("qwen3") },
  config: qwenSchema,
  build(b, config, weights) {
    decoder(b, config, weights, (index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, { bias: config.attention_bias }),
        qkNorm: headNorms(config, weights, `${module}.self_attn`),
        window: slides(config, index) ? config.sliding_window : undefined,
      },
      mlp: denseMlp(weights, `${module}.mlp`, mlpOf(config)),
    }));
  },
});

function slides(config: z.output<typeof qwen2Schema>, index: number): boolean {
  const { use_sliding_window: used, layer_types: types, max_window_layers: first } = config;
  return used && (types ? types[index] === "sliding_attention" : index >= first);
}

function mlpOf({ hidden_size: hidden, ...others }: z.output<typeof qwen2Schema>) {
  return { hidden, intermediate: others.intermediate_size, activation: others.hidden_act };
}

const olmoSchema = z.looseObject(denseFields);

/** OLMo 2. */
export const olmo2 = defineArchitecture({
  name: "olmo2",
  hfNames: ["Olmo2ForCausalLM"],
  features: [
    "dense; norms behind attention and MLP, q and k norms over all heads, biases",
    ROPE_TYPES,
  ],
  notes: NOTES,
  reading: { defaults: classDefaults("olmo2") },
  config: olmoSchema,
  build(b, config, weights) {
    const { hidden_size: hidden, intermediate_size: intermediate } = config;
    const { num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: dim } = config;
    const mlp = { hidden, intermediate, activation: config.hidden_act };
    decoder(b, config, weights, (_index, module) => ({
      attention: {
        ...plainAttention(config, weights, `${module}.self_attn`, { bias: config.attention_bias }),
        qkNorm: {
          over: "all",
          q: normWeight(weights, `${module}.self_attn.q_norm`, heads * dim),
          k: normWeight(weights, `${module}.self_attn.k_norm`, kvHeads * dim),
          eps: config.rms_norm_eps,
        },
      },
      mlp: denseMlp(weights, `${module}.mlp`, mlp),
      norms: {
        afterAttention: "post_attention_layernorm",
        afterMlp: "post_feedforward_layernorm",
      },
    }));
  },
});
