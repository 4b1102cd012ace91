/**
 * Configs of models that people run, with few layers: their plans are counted, nothing is computed.
 *
 * @module
 */

/** By the name that people know; each as its `config.json` says it. */
export const MODEL_SIZES: Readonly<Record<string, Record<string, unknown>>> = {
  "DeepSeek-V2-Lite": {
    architectures: ["DeepseekV2ForCausalLM"],
    ...{ vocab_size: 102400, hidden_size: 2048, intermediate_size: 10944 },
    ...{ moe_intermediate_size: 1408, num_hidden_layers: 3, num_attention_heads: 16 },
    ...{ num_key_value_heads: 16, n_shared_experts: 2, n_routed_experts: 64 },
    ...{ routed_scaling_factor: 1, kv_lora_rank: 512, q_lora_rank: null, qk_rope_head_dim: 64 },
    ...{ v_head_dim: 128, qk_nope_head_dim: 128, topk_method: "greedy", n_group: 1 },
    ...{ topk_group: 1, num_experts_per_tok: 6, first_k_dense_replace: 1, norm_topk_prob: false },
    ...{ rope_theta: 10000, max_position_embeddings: 163840, rms_norm_eps: 1e-6 },
    hidden_act: "silu",
    rope_scaling: {
      ...{ type: "yarn", factor: 40, mscale: 0.707, mscale_all_dim: 0.707 },
      ...{ original_max_position_embeddings: 4096, beta_fast: 32, beta_slow: 1 },
    },
  },
  "GLM-4.7-Flash": {
    architectures: ["Glm4MoeLiteForCausalLM"],
    ...{ vocab_size: 154880, hidden_size: 2048, intermediate_size: 10240 },
    ...{ moe_intermediate_size: 1536, num_hidden_layers: 3, num_attention_heads: 20 },
    ...{ num_key_value_heads: 20, n_shared_experts: 1, n_routed_experts: 64 },
    ...{ routed_scaling_factor: 1.8, kv_lora_rank: 512, q_lora_rank: 768, qk_rope_head_dim: 64 },
    ...{ v_head_dim: 256, qk_nope_head_dim: 192, n_group: 1, topk_group: 1 },
    ...{ num_experts_per_tok: 4, first_k_dense_replace: 1, norm_topk_prob: true },
    ...{ rope_theta: 1000000, max_position_embeddings: 202752, rms_norm_eps: 1e-5 },
    hidden_act: "silu",
  },
  "Gemma-4-26B-A4B": {
    architectures: ["Gemma4ForCausalLM"],
    ...{ model_type: "gemma4_text", vocab_size: 262144, hidden_size: 2816 },
    ...{ intermediate_size: 2112, moe_intermediate_size: 704, num_hidden_layers: 6 },
    ...{ num_attention_heads: 16, num_key_value_heads: 8, num_global_key_value_heads: 2 },
    ...{ head_dim: 256, global_head_dim: 512, num_experts: 128, top_k_experts: 8 },
    ...{ enable_moe_block: true, hidden_size_per_layer_input: 0, attention_k_eq_v: true },
    ...{ sliding_window: 1024, final_logit_softcapping: 30, rms_norm_eps: 1e-6 },
    ...{ max_position_embeddings: 262144, tie_word_embeddings: true },
    hidden_activation: "gelu_pytorch_tanh",
    layer_types: [...Array(5).fill("sliding_attention"), "full_attention"],
  },
};
