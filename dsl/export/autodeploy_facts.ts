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
    commit: "0034d905731dcc8e637631fb7b02a186ca2d6b3c",
  },
  llmArgs: {
    path: "tensorrt_llm/_torch/auto_deploy/llm_args.py",
    commit: "01e5db066ef7277ca4d709cfa0c10e96a688c49a",
  },
} as const;

/** Values that a field takes: a list of them, or a kind. */
export type FieldFacts = readonly (string | null)[] | "boolean" | "number" | "text" | "any";

/** One transform of AutoDeploy. */
export interface UpstreamTransform {
  readonly stage: Stage;
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
const FUSE = { stage: "post_load_fusion" } as const;
const CACHE = { stage: "cache_init" } as const;
const SCALES = { allow_different_input_scales: "boolean" } as const;
const ATTENTION = ["flashinfer", "triton", "torch", "trtllm"] as const;

/** Transforms by key, those of the default pipeline in its order. */
export const UPSTREAM_TRANSFORMS: Readonly<Record<string, UpstreamTransform>> = {
  build_model: { stage: "factory", fields: { device: "text", use_strict_forward: "boolean" } },
  export_to_gm: {
    stage: "export",
    fields: {
      ...{ strict: "boolean", clone_state_dict: "boolean", patch_list: "any" },
      num_moe_experts_for_export: "number",
    },
  },
  cleanup_noop_slice: { stage: "post_export" },
  cleanup_noop_add: { stage: "post_export" },
  cleanup_input_constraints: { stage: "post_export" },
  match_moe_pattern: MATCH,
  match_dense_moe_pattern: MATCH,
  match_bmm_moe_pattern: MATCH,
  match_repeat_kv: MATCH,
  match_eager_attention: MATCH,
  match_sdpa_to_torch_attention: MATCH,
  match_grouped_attention: MATCH,
  match_attention_layout: { ...MATCH, fields: { attn_layout: ["bsnd", "bnsd"] } },
  match_rope_pattern: MATCH,
  match_rope_layout: { ...MATCH, fields: { expected_layout: ["bsnd", "bnsd"] } },
  match_rmsnorm_pattern: MATCH,
  match_l2norm_pattern: MATCH,
  eliminate_redundant_transposes: MATCH,
  optimize_rope: MATCH,
  quantize_int4_linear_from_config: MATCH,
  quantize_int4_gptq_linear_from_config: MATCH,
  quantize_fp8_linear_from_config: MATCH,
  quantize_nvfp4_linear_from_config: { ...MATCH, fields: { load_for_onnx_export: "boolean" } },
  quantize_finegrained_fp8_linear_from_config: MATCH,
  quantize_finegrained_fp8_moe: MATCH,
  quantize_fp8_bmm_from_config: MATCH,
  quantize_fp8_from_graph: MATCH,
  quantize_nvfp4_from_graph: MATCH,
  match_swiglu_pattern: { ...MATCH, enabled: false },
  match_nvfp4_swiglu_pattern: { ...MATCH, enabled: false },
  quantize_fp8_moe: MATCH,
  quantize_nvfp4_moe: MATCH,
  quantize_mxfp4_moe: {
    ...MATCH,
    fields: { backend: [null, "triton", "trtllm"], trtllm_quant_act: ["bf16", "mxfp8"] },
  },
  detect_hidden_states_for_capture: { ...MATCH, fields: { eagle3_layers_to_capture: "any" } },
  detect_sharding: {
    stage: "sharding",
    fields: {
      ...{ simple_shard_only: "boolean", simple_shard_filter: "text", sharding_source: "any" },
      ...{ support_partial_config: "boolean", sharding_dims: "any", factory_config: "any" },
      ...{ shard_all_unprocessed: "boolean", enable_attention_dp: "boolean", manual_config: "any" },
      ...{ allreduce_strategy: "text", dist_backend: "text", dist_mapping: "any" },
    },
  },
  sharding_transform_executor: { stage: "sharding" },
  load_weights: { stage: "weight_load", fields: { checkpoint_device: "any" } },
  move_inputs_to_device: { stage: "weight_load" },
  fuse_gemms: { ...FUSE, enabled: false },
  fuse_fp4_gemms: { ...FUSE, enabled: false },
  fuse_fp8_gemms: { ...FUSE, enabled: false },
  fuse_fp8_linear: { ...FUSE, fields: { backend: ["trtllm", "torch"] } },
  fuse_nvfp4_linear: { ...FUSE, fields: { backend: ["trtllm"] } },
  fuse_nvfp4_swiglu: FUSE,
  fuse_finegrained_fp8_linear: { ...FUSE, fields: { backend: ["trtllm"] } },
  fuse_moe: { ...FUSE, fields: { backend: ["auto", "trtllm", "triton"] } },
  fuse_fp8_moe: { ...FUSE, fields: { backend: ["auto", "trtllm", "triton"], ...SCALES } },
  fuse_finegrained_fp8_moe: { ...FUSE, fields: SCALES },
  fuse_allreduce_residual_rmsnorm: FUSE,
  fuse_rmsnorm: {
    ...FUSE,
    fields: {
      rmsnorm_backend: ["flashinfer", "triton", "torch"],
      gated_rmsnorm_backend: ["triton"],
      backend: ["flashinfer", "triton", "torch"],
    },
  },
  fuse_l2norm: { ...FUSE, fields: { backend: ["fla", "torch"] } },
  fuse_swiglu: {
    ...FUSE,
    enabled: false,
    fields: { swiglu_backend: ["fused", "triton", "torch"] },
  },
  fuse_add_rms_norm: FUSE,
  gather_logits_before_lm_head: { ...FUSE, enabled: false },
  visualize_namespace: { stage: "visualize", enabled: false },
  insert_cached_attention: { ...CACHE, fields: { backend: ATTENTION, cache_config: "any" } },
  insert_cached_mla_attention: { ...CACHE, fields: { backend: ["flashinfer_mla"] } },
  insert_cached_ssm_attention: { ...CACHE, fields: { backend: ["triton_ssm"] } },
  insert_cached_causal_conv: { ...CACHE, fields: { backend: ["cuda_causal_conv"] } },
  insert_cached_delta_rule: { ...CACHE, fields: { backend: ["fla_delta"] } },
  insert_cached_residual_add: { ...CACHE, fields: { backend: ["cached_residual_add"] } },
  initialize_cache: CACHE,
  resize_kv_cache: { ...CACHE, fields: { free_mem_ratio: "number" } },
  fuse_causal_conv_activation: { stage: "compile" },
  multi_stream_moe: { stage: "compile", enabled: false },
  multi_stream_mla_attn: { stage: "compile", enabled: false },
  compile_model: {
    stage: "compile",
    fields: {
      backend: ["torch-simple", "torch-compile", "torch-cudagraph", "torch-opt"],
      ...{ cuda_graph_batch_sizes: "any", num_batched_inputs: "number" },
      ...{ piecewise_enabled: "boolean", piecewise_num_tokens: "any" },
    },
  },
  fuse_nvfp4_moe: { ...FUSE, listed: false, fields: SCALES },
  fuse_mxfp4_moe: { ...FUSE, listed: false },
};

/** Top-level names that AutoDeploy's `LlmArgs` takes and an export may write. */
export const UPSTREAM_SETTINGS: readonly string[] = [
  ...["world_size", "runtime", "mode", "model_factory", "model_kwargs", "tokenizer_kwargs"],
  ...["skip_loading_weights", "max_seq_len", "max_batch_size", "max_num_tokens", "max_beam_width"],
  ...["attn_backend", "compile_backend", "kv_cache_config", "cuda_graph_config"],
  ...["enable_chunked_prefill", "disable_overlap_scheduler", "scheduler_config", "sampler_type"],
  ...["trust_remote_code", "tokenizer", "speculative_config", "guided_decoding_backend"],
  ...["garbage_collection_gen0_threshold", "stream_interval", "num_postprocess_workers"],
  ...["print_iter_log", "enable_iter_perf_stats", "iter_stats_max_iterations", "transforms"],
];

/** Fields of `kv_cache_config` that an export may write. */
export const UPSTREAM_CACHE_FIELDS: readonly string[] = [
  ...["dtype", "enable_block_reuse", "free_gpu_memory_fraction", "max_tokens"],
  ...["tokens_per_block", "max_attention_window", "host_cache_size", "copy_on_partial_reuse"],
  ...["enable_partial_reuse", "event_buffer_max_size", "mamba_ssm_cache_dtype"],
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
