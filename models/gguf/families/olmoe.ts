import { defineGgufFamily } from "../gguf_family.ts";

/** OLMoE. */
export const olmoe = defineGgufFamily({
  architectures: ["olmoe"],
  hfName: "OlmoeForCausalLM",
  modelType: "olmoe",
  config: (metadata, { has }) => ({
    attention_bias: has("blk.0.attn_q.bias"),
    intermediate_size: metadata.number("feed_forward_length"),
    norm_topk_prob: false,
    clip_qkv: metadata.optionalNumber("attention.clamp_kqv") || undefined,
  }),
});
