import { defineGgufFamily } from "../gguf_family.ts";

/** Qwen3-30B-A3B and its relatives; llama.cpp always renormalises their routing weights. */
export const qwen3Moe = defineGgufFamily({
  architectures: ["qwen3moe"],
  hfName: "Qwen3MoeForCausalLM",
  modelType: "qwen3_moe",
  config: (metadata, { has }) => ({
    attention_bias: has("blk.0.attn_q.bias"),
    intermediate_size: metadata.number("feed_forward_length"),
    moe_intermediate_size: metadata.number("expert_feed_forward_length"),
    norm_topk_prob: true,
  }),
});
