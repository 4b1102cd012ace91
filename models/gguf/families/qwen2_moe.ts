import { defineGgufFamily } from "../gguf_family.ts";

/** Qwen1.5-MoE and Qwen2-57B-A14B; a shared expert stands behind a gate of its own. */
export const qwen2Moe = defineGgufFamily({
  architectures: ["qwen2moe"],
  hfName: "Qwen2MoeForCausalLM",
  modelType: "qwen2_moe",
  config: (metadata, { has, rowsOf }) => ({
    qkv_bias: has("blk.0.attn_q.bias"),
    intermediate_size: metadata.number("feed_forward_length"),
    moe_intermediate_size: metadata.optionalNumber("expert_feed_forward_length") ??
      rowsOf("blk.0.ffn_gate_exps.weight"),
    shared_expert_intermediate_size: metadata.optionalNumber("expert_shared_feed_forward_length") ??
      rowsOf("blk.0.ffn_gate_shexp.weight"),
    norm_topk_prob: false,
  }),
  layerModules: {
    ffn_gate_inp_shexp: "mlp.shared_expert_gate",
    ffn_gate_shexp: "mlp.shared_expert.gate_proj",
    ffn_up_shexp: "mlp.shared_expert.up_proj",
    ffn_down_shexp: "mlp.shared_expert.down_proj",
  },
});
