/**
 * Transforms of AutoDeploy that have no meaning on WebGPU. Their keys are known, so that its files load:
 * they are reported, skipped, and carried through to an exported AutoDeploy configuration.
 *
 * @module
 */

import type { Stage } from "./stage.ts";

/** Why a key of AutoDeploy's does nothing here. */
export interface NotApplicable {
  /** The stage it has there. */
  readonly stage: Stage;
  /** One sentence without a full stop. */
  readonly reason: string;
}

const CUDA_LAYOUT = "the kernels read every layout, so none has to be chosen";
const GRAPH_QUANTIZERS = "there is no exported graph with quantizer nodes; checkpoints are read";
const STATE_SPACE = "no architecture here has state-space or linear-attention layers";
const STREAMS = "a WebGPU device has one queue, so there are no streams to overlap";
const MXFP4_READ = "quantize_mxfp4_moe and fuse_mxfp4_moe serve every backend";
const FOLDED = "the linear kernels read packed weights themselves, so there is nothing to swap";

const KEYS: Readonly<Record<string, NotApplicable>> = {
  match_sdpa_to_torch_attention: {
    stage: "pattern_matcher",
    reason: "match_eager_attention makes the attention op directly",
  },
  match_attention_layout: { stage: "pattern_matcher", reason: CUDA_LAYOUT },
  match_rope_layout: { stage: "pattern_matcher", reason: CUDA_LAYOUT },
  optimize_rope: {
    stage: "pattern_matcher",
    reason: "insert_cached_attention takes RoPE into the attention kernel",
  },
  eliminate_redundant_transposes: {
    stage: "pattern_matcher",
    reason: "insert_cached_attention removes every transpose around attention",
  },
  quantize_int4_gptq_linear_from_config: {
    stage: "pattern_matcher",
    reason:
      "quantize_int4_linear_from_config and quantize_int8_linear_from_config take GPTQ weights",
  },
  quantize_fp8_bmm_from_config: {
    stage: "pattern_matcher",
    reason: "no architecture here multiplies experts in a batch",
  },
  quantize_fp8_from_graph: { stage: "pattern_matcher", reason: GRAPH_QUANTIZERS },
  quantize_nvfp4_from_graph: { stage: "pattern_matcher", reason: GRAPH_QUANTIZERS },
  quantize_mxfp4_moe_trtllm_gen: { stage: "pattern_matcher", reason: MXFP4_READ },
  match_nvfp4_swiglu_pattern: { stage: "pattern_matcher", reason: FOLDED },
  match_finegrained_fp8_swiglu_pattern: { stage: "pattern_matcher", reason: FOLDED },
  detect_hidden_states_for_capture: {
    stage: "pattern_matcher",
    reason: "there is no speculative decoding with a draft head",
  },
  split_moe_fused_for_sharding: { stage: "sharding", reason: "one device holds all experts" },
  fuse_gemms_mixed_children: {
    stage: "post_load_fusion",
    reason: "fuse_gemms joins linear layers whatever else reads their input",
  },
  fuse_rope_into_trtllm_attention: {
    stage: "cache_init",
    reason: "insert_cached_attention takes RoPE into the attention kernel",
  },
  fuse_fp4_gemms: { stage: "post_load_fusion", reason: "fuse_gemms serves every format" },
  fuse_fp8_gemms: { stage: "post_load_fusion", reason: "fuse_gemms serves every format" },
  fuse_fp8_linear: { stage: "post_load_fusion", reason: FOLDED },
  fuse_nvfp4_linear: { stage: "post_load_fusion", reason: FOLDED },
  fuse_finegrained_fp8_linear: { stage: "post_load_fusion", reason: FOLDED },
  fuse_nvfp4_swiglu: { stage: "post_load_fusion", reason: FOLDED },
  fuse_allreduce_residual_rmsnorm: {
    stage: "post_load_fusion",
    reason: "one device, so there is no all-reduce",
  },
  fuse_mamba_a_log: { stage: "post_load_fusion", reason: STATE_SPACE },
  fuse_rmsnorm_quant_fp8: {
    stage: "post_load_fusion",
    reason: "fuse_rmsnorm takes norms into the linear layers behind them, also into packed ones",
  },
  fuse_trtllm_attn_quant_fp8: {
    stage: "post_load_fusion",
    reason: "the linear layer behind attention rounds its input itself",
  },
  fuse_rope_into_trtllm_mla: {
    stage: "cache_init",
    reason: "insert_cached_mla_attention takes RoPE into the attention kernel",
  },
  fuse_l2norm: { stage: "post_load_fusion", reason: STATE_SPACE },
  insert_cached_ssm_attention: { stage: "cache_init", reason: STATE_SPACE },
  insert_cached_causal_conv: { stage: "cache_init", reason: STATE_SPACE },
  insert_cached_delta_rule: { stage: "cache_init", reason: STATE_SPACE },
  insert_cached_residual_add: {
    stage: "cache_init",
    reason: "there is no speculative decoding with a draft head",
  },
  fuse_causal_conv_activation: { stage: "compile", reason: STATE_SPACE },
  multi_stream_moe: { stage: "compile", reason: STREAMS },
  multi_stream_mla_attn: { stage: "compile", reason: STREAMS },
  transformers_replace_cached_attn: {
    stage: "factory",
    reason: "it belongs to the mode that runs a PyTorch module",
  },
  load_factory_model_weights: {
    stage: "weight_load",
    reason: "it belongs to the mode that runs a PyTorch module",
  },
  detect_hf_attn_layers: {
    stage: "factory",
    reason: "it belongs to the mode that runs a PyTorch module",
  },
  build_and_load_factory_model: {
    stage: "factory",
    reason: "it belongs to the mode that runs a PyTorch module",
  },
};

/** Why a key does nothing here, or undefined for other keys. */
export function notApplicable(key: string): NotApplicable | undefined {
  return Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
}

/** All such keys. */
export function notApplicableKeys(): readonly string[] {
  return Object.keys(KEYS);
}
