import { defineGgufFamily } from "../gguf_family.ts";

/** gpt-oss; the file does not say what all models of the family share. */
export const gptOss = defineGgufFamily({
  architectures: ["gpt-oss"],
  hfName: "GptOssForCausalLM",
  modelType: "gpt_oss",
  config: (metadata) => ({
    intermediate_size: metadata.number("expert_feed_forward_length"),
    sliding_window: metadata.number("attention.sliding_window"),
    attention_bias: true,
    swiglu_limit: 7,
    rope_parameters: {
      rope_theta: metadata.number("rope.freq_base"),
      rope_type: metadata.optionalText("rope.scaling.type") ?? "yarn",
      factor: metadata.number("rope.scaling.factor"),
      original_max_position_embeddings: metadata.number("rope.scaling.original_context_length"),
      beta_fast: metadata.optionalNumber("rope.scaling.yarn_beta_fast") ?? 32,
      beta_slow: metadata.optionalNumber("rope.scaling.yarn_beta_slow") ?? 1,
      truncate: false,
    },
  }),
  layerModules: {
    post_attention_norm: "post_attention_layernorm",
    attn_post_norm: "post_attention_layernorm",
    ffn_gate_inp: "mlp.router",
    attn_sinks: "self_attn.sinks",
  },
});
