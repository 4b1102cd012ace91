import { defineGgufFamily, type FileFacts } from "../gguf_family.ts";
import type { GgufMetadata } from "../gguf_metadata.ts";

/** Keys of routers that choose as DeepSeek-V3's do. */
export function groupedRouter(metadata: GgufMetadata): Record<string, unknown> {
  return {
    n_routed_experts: metadata.number("expert_count"),
    num_experts: undefined,
    intermediate_size: metadata.number("feed_forward_length"),
    moe_intermediate_size: metadata.number("expert_feed_forward_length"),
    n_shared_experts: metadata.optionalNumber("expert_shared_count") ?? 0,
    first_k_dense_replace: metadata.optionalNumber("leading_dense_block_count") ?? 0,
    norm_topk_prob: metadata.optionalBoolean("expert_weights_norm") ?? true,
    routed_scaling_factor: metadata.optionalNumber("expert_weights_scale") || 1,
    n_group: metadata.optionalNumber("expert_group_count") || 1,
    topk_group: metadata.optionalNumber("expert_group_used_count") || 1,
  };
}

/** Layers that predict further tokens stand after the others and are counted with them. */
function layersOf(metadata: GgufMetadata): Record<string, unknown> {
  const further = metadata.optionalNumber("nextn_predict_layers") ?? 0;
  return { num_hidden_layers: metadata.number("block_count") - further };
}

function attentionOf({ has }: FileFacts): Record<string, unknown> {
  return {
    attention_bias: has("blk.0.attn_q.bias"),
    use_qk_norm: has("blk.0.attn_q_norm.weight"),
  };
}

/** GLM-4.5 to 4.7. */
export const glm4Moe = defineGgufFamily({
  architectures: ["glm4moe"],
  hfName: "Glm4MoeForCausalLM",
  modelType: "glm4_moe",
  config: (metadata, facts) => ({
    ...groupedRouter(metadata),
    ...layersOf(metadata),
    ...attentionOf(facts),
  }),
  layerModules: { post_attention_norm: "post_attention_layernorm" },
});

/** dots.llm1. */
export const dots1 = defineGgufFamily({
  architectures: ["dots1"],
  hfName: "Dots1ForCausalLM",
  modelType: "dots1",
  config: (metadata, { has }) => ({
    ...groupedRouter(metadata),
    attention_bias: has("blk.0.attn_q.bias"),
    max_window_layers: metadata.number("block_count"),
  }),
});

/** MiniMax-M2. */
export const minimaxM2 = defineGgufFamily({
  architectures: ["minimax-m2"],
  hfName: "MiniMaxM2ForCausalLM",
  modelType: "minimax_m2",
  config: (metadata) => ({
    intermediate_size: metadata.number("expert_feed_forward_length"),
  }),
  layerModules: {
    ffn_gate_inp: "block_sparse_moe.gate",
    exp_probs_b: "block_sparse_moe.e_score_correction_bias",
  },
  experts: { module: "block_sparse_moe.experts", names: { gate: "w1", up: "w3", down: "w2" } },
});
