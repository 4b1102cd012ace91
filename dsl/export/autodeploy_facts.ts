/**
 * What TensorRT-LLM's AutoDeploy understands: its transforms with their stages and fields, and the
 * top-level names that its `LlmArgs` takes. Facts alone, read from the sources named here.
 *
 * @module
 */

import type { Stage } from "../../transforms/mod.ts";

/** Where the facts were read. */
export const UPSTREAM = {
  repository: "https://github.com/NVIDIA/TensorRT-LLM",
  defaultYaml: {
    path: "tensorrt_llm/_torch/auto_deploy/config/default.yaml",
    commit: "682ac36137d0be9466c30c1a4239d817115f87d2",
  },
  llmArgs: {
    path: "tensorrt_llm/_torch/auto_deploy/llm_args.py",
    commit: "01e5db066ef7277ca4d709cfa0c10e96a688c49a",
  },
  /** Files that name what the default pipeline does not, each as last stored in 2026. */
  registry: {
    path: "examples/auto_deploy/model_registry/configs",
    commit: "0251d1ce090b7c49eb3bb0ec691c70762a19772b",
  },
} as const;

/** Values that a field takes: a list of them, or a kind. */
export type FieldFacts = readonly (string | null)[] | "boolean" | "number" | "text" | "any";

/** One transform of AutoDeploy. */
export interface UpstreamTransform {
  /** Its stages are those of pipelines here, and one behind them for exports. */
  readonly stage: Stage | "export_onnx";
  /** Whether its default pipeline runs it; absent is yes. */
  readonly enabled?: false;
  /** It is registered, and the default pipeline does not name it. */
  readonly listed?: false;
  /** Fields besides those of every transform. */
  readonly fields?: Readonly<Record<string, FieldFacts>>;
}

/** Fields of every transform. */
export const UPSTREAM_BASE_FIELDS: readonly string[] = [
  ...["stage", "run_per_gm", "enabled", "skip_on_error", "run_graph_cleanup", "run_shape_prop"],
  ...["requires_clean_graph", "requires_shape_prop", "debug_visualize_dir", "expect_mem_change"],
];

const MATCH = { stage: "pattern_matcher" } as const;
const SHARD = { stage: "sharding" } as const;
const FUSE = { stage: "post_load_fusion" } as const;
const CACHE = { stage: "cache_init" } as const;
const COMPILE = { stage: "compile" } as const;
const ONNX = { stage: "export_onnx", listed: false } as const;
const OFF = { enabled: false } as const;
const UNLISTED = { listed: false } as const;
const SCALES = { allow_different_input_scales: "boolean" } as const;
const ATTENTION = [
  ...["flashinfer", "triton", "triton_paged", "torch", "trtllm"] as const,
  ...["deepseek_v4_sparse", "nanojet"] as const,
] as const;
const LATENT = ["flashinfer_mla", "torch_mla", "triton_mla", "trtllm_mla"] as const;
const CHECKPOINT_DEVICE = { checkpoint_device: "any" } as const;

/** Transforms by key, those of the default pipeline in its order. */
export const UPSTREAM_TRANSFORMS: Readonly<Record<string, UpstreamTransform>> = {
  build_model: { stage: "factory", fields: { device: "text", use_strict_forward: "boolean" } },
  export_to_gm: {
    stage: "export",
    fields: {
      ...{ strict: "boolean", clone_state_dict: "boolean", patch_list: "any" },
      num_moe_experts_for_export: "any",
    },
  },
  cleanup_noop_slice: { stage: "post_export" },
  cleanup_noop_add: { stage: "post_export" },
  cleanup_input_constraints: { stage: "post_export" },
  match_moe_pattern: MATCH,
  match_dense_moe_pattern: MATCH,
  match_bmm_moe_pattern: MATCH,
  split_moe_fused_for_sharding: MATCH,
  match_repeat_kv: MATCH,
  match_eager_attention: MATCH,
  match_sdpa_to_torch_attention: MATCH,
  match_grouped_attention: MATCH,
  match_attention_layout: { ...MATCH, fields: { attn_layout: ["bsnd", "bnsd"] } },
  match_rope_pattern: MATCH,
  match_rope_layout: { ...MATCH, fields: { expected_layout: ["bsnd", "bnsd"] } },
  match_rmsnorm_pattern: MATCH,
  match_l2norm_pattern: MATCH,
  match_moe_routing_pattern: MATCH,
  eliminate_redundant_transposes: MATCH,
  quantize_int4_linear_from_config: MATCH,
  quantize_int4_gptq_linear_from_config: MATCH,
  quantize_fp8_linear_from_config: MATCH,
  quantize_nvfp4_linear_from_config: { ...MATCH, fields: { load_for_onnx_export: "boolean" } },
  quantize_finegrained_fp8_linear_from_config: MATCH,
  quantize_finegrained_fp8_moe: MATCH,
  quantize_fp8_bmm_from_config: MATCH,
  quantize_fp8_from_graph: MATCH,
  quantize_nvfp4_from_graph: MATCH,
  match_swiglu_pattern: MATCH,
  match_nvfp4_swiglu_pattern: MATCH,
  match_finegrained_fp8_swiglu_pattern: MATCH,
  quantize_fp8_moe: MATCH,
  quantize_nvfp4_moe: MATCH,
  quantize_mxfp4_moe: {
    ...MATCH,
    fields: { backend: [null, "triton", "trtllm"], trtllm_quant_act: ["bf16", "mxfp8"] },
  },
  detect_hidden_states_for_capture: {
    ...MATCH,
    ...OFF,
    fields: { eagle3_layers_to_capture: "any" },
  },
  apply_sharding_hints: {
    ...SHARD,
    fields: {
      ...{ allreduce_strategy: "text", dist_mapping: "any", enable_attention_dp: "boolean" },
      ...{ shard_layers: "any", simple_shard_only: "boolean", simple_shard_filter: "text" },
    },
  },
  detect_sharding: {
    ...SHARD,
    fields: {
      ...{ simple_shard_only: "boolean", simple_shard_filter: "text", sharding_source: "any" },
      ...{ support_partial_config: "boolean", sharding_dims: "any", factory_config: "any" },
      ...{ shard_all_unprocessed: "boolean", enable_attention_dp: "boolean", manual_config: "any" },
      ...{ allreduce_strategy: "text", allgather_strategy: "text", dist_backend: "text" },
      ...{ dist_mapping: "any", exclude_shard_node_filter: "text", enable_sharder_ir: "boolean" },
      ...{ use_fused_qk_norm: "boolean", use_allgather_qk_norm: "boolean" },
    },
  },
  sharding_transform_executor: SHARD,
  pipeline_cache: { ...SHARD, ...OFF, fields: { root: "any" } },
  strip_sharding_hints: { stage: "weight_load" },
  load_weights: {
    stage: "weight_load",
    fields: { ...CHECKPOINT_DEVICE, disable_preload: "boolean" },
  },
  move_inputs_to_device: { stage: "weight_load", fields: CHECKPOINT_DEVICE },
  fuse_gemms_mixed_children: { ...FUSE, ...OFF },
  fuse_gemms: { ...FUSE, ...OFF },
  fuse_fp4_gemms: { ...FUSE, ...OFF },
  fuse_fp8_gemms: { ...FUSE, ...OFF },
  fuse_nanojet_fused_qkv_gemm_norm_rope: { ...FUSE, ...OFF },
  fuse_fp8_linear: { ...FUSE, fields: { backend: ["trtllm", "torch"] } },
  fuse_nanojet_rmsnorm_fp8: { ...FUSE, ...OFF },
  fuse_nanojet_swiglu_gemm_fp8: { ...FUSE, ...OFF },
  fuse_nanojet_attn_quant_fp8: { ...FUSE, ...OFF },
  fuse_nanojet_gemm_fp8_add: { ...FUSE, ...OFF },
  fuse_trtllm_attn_quant_fp8: { ...FUSE, ...OFF },
  fuse_nvfp4_linear: { ...FUSE, fields: { backend: ["trtllm"] } },
  fuse_relu2_quant_nvfp4: FUSE,
  fuse_nvfp4_swiglu: FUSE,
  fuse_finegrained_fp8_swiglu: FUSE,
  fuse_finegrained_fp8_linear: { ...FUSE, fields: { backend: ["trtllm"] } },
  fuse_mxfp4_moe: FUSE,
  fuse_moe: { ...FUSE, fields: { backend: ["auto", "trtllm", "triton"] } },
  fuse_fp8_moe: { ...FUSE, fields: { backend: ["auto", "trtllm", "triton"], ...SCALES } },
  fuse_finegrained_fp8_moe: { ...FUSE, fields: SCALES },
  fuse_nvfp4_moe: {
    ...FUSE,
    fields: { backend: ["cutlass", "trtllm_gen"], use_internal_routing: "boolean", ...SCALES },
  },
  fuse_allreduce_residual_rmsnorm: FUSE,
  fuse_rmsnorm: {
    ...FUSE,
    fields: {
      rmsnorm_backend: ["flashinfer", "triton", "torch"],
      gated_rmsnorm_backend: ["triton"],
      backend: ["flashinfer", "triton", "torch"],
    },
  },
  fuse_rmsnorm_quant_nvfp4: FUSE,
  fuse_gdn_gating: FUSE,
  fuse_l2norm: { ...FUSE, fields: { backend: ["fla", "torch"] } },
  fuse_silu_mul: { ...FUSE, fields: { backend: ["flashinfer", "trtllm"] } },
  fuse_swiglu: { ...FUSE, ...OFF, fields: { swiglu_backend: ["fused", "triton", "torch"] } },
  fuse_add_rms_norm: { ...FUSE, ...OFF },
  fuse_rmsnorm_quant_fp8: { ...FUSE, ...OFF },
  gather_logits_before_lm_head: { ...FUSE, ...OFF },
  fuse_rope_into_trtllm_attention: { ...FUSE, ...OFF },
  fuse_rope_into_trtllm_mla: { ...FUSE, ...OFF },
  optimize_rope: FUSE,
  mlir_elementwise_fusion: { ...FUSE, ...OFF, fields: { bypass_ops: "any" } },
  visualize_namespace: { stage: "visualize", ...OFF },
  insert_cached_attention: { ...CACHE, fields: { backend: ATTENTION, cache_config: "any" } },
  insert_cached_mla_attention: { ...CACHE, fields: { backend: LATENT } },
  insert_cached_ssm_attention: {
    ...CACHE,
    fields: { backend: ["triton_ssm", "flashinfer_ssm"], ssm_replay: "boolean" },
  },
  insert_cached_causal_conv: {
    ...CACHE,
    fields: { backend: ["cuda_causal_conv", "triton_causal_conv"] },
  },
  insert_cached_delta_rule: { ...CACHE, fields: { backend: ["fla_delta"] } },
  insert_cached_gated_delta_rule: { ...CACHE, fields: { backend: ["fla_gated_delta"] } },
  insert_cached_residual_add: { ...CACHE, fields: { backend: ["cached_residual_add"] } },
  initialize_mrope_delta_cache: { ...CACHE, ...OFF },
  initialize_cache: CACHE,
  resize_kv_cache: { ...CACHE, fields: { free_mem_ratio: "number" } },
  fuse_causal_conv_activation: COMPILE,
  multi_stream_moe: { ...COMPILE, ...OFF },
  multi_stream_mla_attn: { ...COMPILE, ...OFF },
  multi_stream_gemm: { ...COMPILE, ...OFF },
  cleanup_identity_dtype_cast: { ...COMPILE, ...OFF },
  compile_model: {
    ...COMPILE,
    fields: {
      backend: ["torch-simple", "torch-compile", "torch-cudagraph", "torch-opt"],
      ...{ cuda_graph_batch_sizes: "any", num_batched_inputs: "number" },
      ...{ piecewise_enabled: "boolean", piecewise_num_tokens: "any" },
    },
  },
  fuse_mamba_a_log: { ...FUSE, ...UNLISTED },
  fuse_gelu_tanh_mul: { ...FUSE, ...UNLISTED },
  fuse_dsv3_a_gemm: { ...FUSE, ...UNLISTED },
  fuse_dsv3_router_gemm: { ...FUSE, ...UNLISTED },
  fuse_rmsnorm_fp8_finegrained: { ...FUSE, ...UNLISTED },
  fuse_fp8_prequant_shared: { ...FUSE, ...UNLISTED },
  bypass_qk_split_for_lamport: { ...FUSE, ...UNLISTED },
  sync_tied_weights: { ...FUSE, ...UNLISTED },
  tag_vlm_mask_kind: { ...CACHE, ...UNLISTED },
  fuse_moe_allreduce_residual_rmsnorm: { ...COMPILE, ...UNLISTED },
  transformers_replace_cached_attn: { stage: "factory", ...UNLISTED },
  load_factory_model_weights: { stage: "weight_load", ...UNLISTED },
  fuse_rope_attention: ONNX,
  short_reshape_attention_output: ONNX,
  gather_last_token_ids: ONNX,
  adapt_to_edgellm: ONNX,
  adapt_to_driveos_llm: ONNX,
  export_to_onnx: { ...ONNX, fields: { output_dir: "text", output_name: "text" } },
};

/** Top-level names that AutoDeploy's `LlmArgs` takes and an export may write. */
export const UPSTREAM_SETTINGS: readonly string[] = [
  ...["world_size", "runtime", "mode", "model_factory", "model_kwargs", "tokenizer_kwargs"],
  ...["skip_loading_weights", "max_seq_len", "max_batch_size", "max_num_tokens", "max_beam_width"],
  ...["attn_backend", "compile_backend", "kv_cache_config", "cuda_graph_config"],
  ...["enable_chunked_prefill", "disable_overlap_scheduler", "scheduler_config", "sampler_type"],
  ...["trust_remote_code", "tokenizer", "skip_tokenizer_init", "guided_decoding_backend"],
  ...["speculative_config", "speculative_model_kwargs", "cache_transceiver_config", "dtype"],
  ...["garbage_collection_gen0_threshold", "stream_interval", "num_postprocess_workers"],
  ...["print_iter_log", "enable_iter_perf_stats", "iter_stats_max_iterations", "transforms"],
];

/** Fields of `kv_cache_config` that an export may write. */
export const UPSTREAM_CACHE_FIELDS: readonly string[] = [
  ...["dtype", "enable_block_reuse", "free_gpu_memory_fraction", "max_tokens"],
  ...["tokens_per_block", "max_attention_window", "host_cache_size", "copy_on_partial_reuse"],
  ...["enable_partial_reuse", "event_buffer_max_size", "mamba_ssm_cache_dtype"],
  ...["mamba_ssm_philox_rounds", "mamba_ssm_stochastic_rounding"],
];

/** Whether a field takes a value; undefined when it does not exist. */
export function upstreamTakes(key: string, field: string, value: unknown): boolean | undefined {
  if (UPSTREAM_BASE_FIELDS.includes(field)) return true;
  const fields = UPSTREAM_TRANSFORMS[key]?.fields ?? {};
  if (!Object.hasOwn(fields, field)) return undefined;
  const takes = fields[field];
  if (takes === "any") return true;
  if (takes === "text") return typeof value === "string";
  if (takes === "boolean") return typeof value === "boolean";
  if (takes === "number") return typeof value === "number";
  return takes.some((each) => each === value);
}
