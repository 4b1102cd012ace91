import { defineGgufFamily } from "../gguf_family.ts";
import type { GgufMetadata } from "../gguf_metadata.ts";
import { groupedRouter } from "./sigmoid_moe.ts";

/** Number of `expert_gating_func` for routers with a sigmoid, which came with V3. */
const SIGMOID = 2;

/** DeepSeek-V2, V2-Lite, V3, R1 and Kimi-K2. */
export const deepseek2 = defineGgufFamily({
  architectures: ["deepseek2"],
  hfName: (metadata) => isV3(metadata) ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM",
  modelType: (metadata) => isV3(metadata) ? "deepseek_v3" : "deepseek_v2",
  config(metadata) {
    // Files of 2025 and later have the sizes of the latent form beside those of the heads.
    const keys = metadata.optionalNumber("attention.key_length_mla") ??
      metadata.number("attention.key_length");
    const values = metadata.optionalNumber("attention.value_length_mla") ??
      metadata.number("attention.value_length");
    const turning = metadata.number("rope.dimension_count");
    const router = groupedRouter(metadata);
    return {
      ...router,
      norm_topk_prob: isV3(metadata) ? router.norm_topk_prob : undefined,
      topk_method: isV3(metadata)
        ? undefined
        : Number(router.n_group ?? 1) > 1
        ? "group_limited_greedy"
        : "greedy",
      num_key_value_heads: metadata.sameInAllLayers("attention.head_count"),
      head_dim: turning,
      q_lora_rank: metadata.optionalNumber("attention.q_lora_rank") || null,
      kv_lora_rank: metadata.number("attention.kv_lora_rank"),
      qk_nope_head_dim: keys - turning,
      qk_rope_head_dim: turning,
      v_head_dim: values,
      rope_parameters: ropeOf(metadata),
    };
  },
  layerModules: {
    attn_q_a: "self_attn.q_a_proj",
    attn_q_a_norm: "self_attn.q_a_layernorm",
    attn_q_b: "self_attn.q_b_proj",
    attn_kv_a_mqa: "self_attn.kv_a_proj_with_mqa",
    attn_kv_a_norm: "self_attn.kv_a_layernorm",
    attn_kv_b: "self_attn.kv_b_proj",
  },
});

function isV3(metadata: GgufMetadata): boolean {
  return metadata.optionalNumber("expert_gating_func") === SIGMOID;
}

/** The file has a tenth of `mscale_all_dim`, and the models have the same `mscale`. */
function ropeOf(metadata: GgufMetadata): Record<string, unknown> {
  const theta = metadata.optionalNumber("rope.freq_base") ?? 10000;
  if (metadata.optionalText("rope.scaling.type") !== "yarn") {
    return { rope_theta: theta, rope_type: "default" };
  }
  const mscale = 10 * (metadata.optionalNumber("rope.scaling.yarn_log_multiplier") ?? 0);
  // The file has it in f32.
  const rounded = Number(mscale.toPrecision(6));
  return {
    rope_theta: theta,
    rope_type: "yarn",
    factor: metadata.number("rope.scaling.factor"),
    original_max_position_embeddings: metadata.number("rope.scaling.original_context_length"),
    ...(rounded > 0 && { mscale: rounded, mscale_all_dim: rounded }),
  };
}
