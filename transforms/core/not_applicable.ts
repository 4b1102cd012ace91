/**
 * Transforms of AutoDeploy that have no meaning on WebGPU. Their keys are known, so that its files load:
 * they are reported, skipped, and carried through to an exported AutoDeploy configuration.
 *
 * @module
 */

import type { Stage } from "./stage.ts";

/** Why a key of AutoDeploy's does nothing here. */
export interface NotApplicable {
  /** The stage it has there; one that does not exist here is after all others. */
  readonly stage: Stage;
  /** One sentence without a full stop. */
  readonly reason: string;
}

const CUDA_LAYOUT = "the kernels read every layout, so none has to be chosen";
const GRAPH_QUANTIZERS = "there is no exported graph with quantizer nodes; checkpoints are read";
const STATE_SPACE = "no architecture here has state-space or linear-attention layers";
const STREAMS = "a WebGPU device has one queue, so there are no streams to overlap";
const MXFP4_READ = "quantize_mxfp4_moe and fuse_mxfp4_moe serve every backend";
const ONE_DEVICE = "a deployment runs on one device";
const ALL_REDUCE = "one device, so there is no all-reduce";
const NO_ONNX = "nothing is exported to ONNX";
const TEXT_ONLY = "prompts are text, without images";
const NANOJET = "it belongs to CUDA kernels that read prompts alone";
const ROUNDED_THERE = "linear layers round their input themselves, where it is rounded at all";
const GATED = "match_swiglu_pattern joins gate, up and activation";
const ONE_SHAPE = "it belongs to a CUDA kernel for the shapes of one model";
const ROPE_INSIDE = "insert_cached_attention takes RoPE into the attention kernel";
const FOLDED = "the linear kernels read packed weights themselves, so there is nothing to swap";

const KEYS: Readonly<Record<string, NotApplicable>> = {
  match_sdpa_to_torch_attention: {
    stage: "pattern_matcher",
    reason: "match_eager_attention makes the attention op directly",
  },
  match_attention_layout: { stage: "pattern_matcher", reason: CUDA_LAYOUT },
  match_rope_layout: { stage: "pattern_matcher", reason: CUDA_LAYOUT },
  match_moe_routing_pattern: {
    stage: "pattern_matcher",
    reason: "match_router_pattern finds the choice of experts",
  },
  optimize_rope: { stage: "post_load_fusion", reason: ROPE_INSIDE },
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
  split_moe_fused_for_sharding: {
    stage: "pattern_matcher",
    reason: "one device holds all experts",
  },
  apply_sharding_hints: { stage: "sharding", reason: ONE_DEVICE },
  strip_sharding_hints: { stage: "weight_load", reason: ONE_DEVICE },
  pipeline_cache: { stage: "sharding", reason: "the graph is built anew for each deployment" },
  sync_tied_weights: {
    stage: "post_load_fusion",
    reason: "tied weights are one weight of the graph",
  },
  fuse_gemms_mixed_children: {
    stage: "post_load_fusion",
    reason: "fuse_gemms joins linear layers whatever else reads their input",
  },
  fuse_rope_into_trtllm_attention: { stage: "post_load_fusion", reason: ROPE_INSIDE },
  bypass_qk_split_for_lamport: { stage: "post_load_fusion", reason: ALL_REDUCE },
  fuse_nanojet_fused_qkv_gemm_norm_rope: { stage: "post_load_fusion", reason: NANOJET },
  fuse_nanojet_rmsnorm_fp8: { stage: "post_load_fusion", reason: NANOJET },
  fuse_nanojet_swiglu_gemm_fp8: { stage: "post_load_fusion", reason: NANOJET },
  fuse_nanojet_attn_quant_fp8: { stage: "post_load_fusion", reason: NANOJET },
  fuse_nanojet_gemm_fp8_add: { stage: "post_load_fusion", reason: NANOJET },
  fuse_relu2_quant_nvfp4: { stage: "post_load_fusion", reason: ROUNDED_THERE },
  fuse_rmsnorm_quant_nvfp4: { stage: "post_load_fusion", reason: ROUNDED_THERE },
  fuse_rmsnorm_fp8_finegrained: { stage: "post_load_fusion", reason: ROUNDED_THERE },
  fuse_fp8_prequant_shared: { stage: "post_load_fusion", reason: ROUNDED_THERE },
  fuse_finegrained_fp8_swiglu: { stage: "post_load_fusion", reason: FOLDED },
  fuse_silu_mul: { stage: "post_load_fusion", reason: GATED },
  fuse_gelu_tanh_mul: { stage: "post_load_fusion", reason: GATED },
  fuse_gdn_gating: { stage: "post_load_fusion", reason: STATE_SPACE },
  fuse_dsv3_a_gemm: { stage: "post_load_fusion", reason: ONE_SHAPE },
  fuse_dsv3_router_gemm: { stage: "post_load_fusion", reason: ONE_SHAPE },
  mlir_elementwise_fusion: {
    stage: "post_load_fusion",
    reason: "there is no MLIR; fuse_rmsnorm, fuse_residual and others join elementwise operations",
  },
  fuse_fp4_gemms: { stage: "post_load_fusion", reason: "fuse_gemms serves every format" },
  fuse_fp8_gemms: { stage: "post_load_fusion", reason: "fuse_gemms serves every format" },
  fuse_fp8_linear: { stage: "post_load_fusion", reason: FOLDED },
  fuse_nvfp4_linear: { stage: "post_load_fusion", reason: FOLDED },
  fuse_finegrained_fp8_linear: { stage: "post_load_fusion", reason: FOLDED },
  fuse_nvfp4_swiglu: { stage: "post_load_fusion", reason: FOLDED },
  fuse_allreduce_residual_rmsnorm: {
    stage: "post_load_fusion",
    reason: ALL_REDUCE,
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
    stage: "post_load_fusion",
    reason: "insert_cached_mla_attention takes RoPE into the attention kernel",
  },
  fuse_l2norm: { stage: "post_load_fusion", reason: STATE_SPACE },
  insert_cached_ssm_attention: { stage: "cache_init", reason: STATE_SPACE },
  insert_cached_causal_conv: { stage: "cache_init", reason: STATE_SPACE },
  insert_cached_delta_rule: { stage: "cache_init", reason: STATE_SPACE },
  insert_cached_gated_delta_rule: { stage: "cache_init", reason: STATE_SPACE },
  initialize_mrope_delta_cache: { stage: "cache_init", reason: TEXT_ONLY },
  tag_vlm_mask_kind: { stage: "cache_init", reason: TEXT_ONLY },
  insert_cached_residual_add: {
    stage: "cache_init",
    reason: "there is no speculative decoding with a draft head",
  },
  fuse_causal_conv_activation: { stage: "compile", reason: STATE_SPACE },
  multi_stream_moe: { stage: "compile", reason: STREAMS },
  multi_stream_mla_attn: { stage: "compile", reason: STREAMS },
  multi_stream_gemm: { stage: "compile", reason: STREAMS },
  cleanup_identity_dtype_cast: {
    stage: "compile",
    reason: "there are no casts to the type that a value has already",
  },
  fuse_moe_allreduce_residual_rmsnorm: { stage: "compile", reason: ALL_REDUCE },
  fuse_rope_attention: { stage: "compile", reason: NO_ONNX },
  short_reshape_attention_output: { stage: "compile", reason: NO_ONNX },
  gather_last_token_ids: { stage: "compile", reason: NO_ONNX },
  adapt_to_edgellm: { stage: "compile", reason: NO_ONNX },
  adapt_to_driveos_llm: { stage: "compile", reason: NO_ONNX },
  export_to_onnx: { stage: "compile", reason: NO_ONNX },
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
