/**
 * Names of AutoDeploy's configuration that have no meaning here. They are known, so that its files
 * load: reported once, and carried through to exports.
 *
 * @module
 */

const ONE_DEVICE = "a deployment runs on one device";
const NO_TORCH = "there is no PyTorch underneath";
const FROM_FOLDER = "the model folder decides";
const NO_DRAFT = "there is no speculative decoding";
const NO_CUDA_GRAPH = "dispatches are always prepared ahead; see compile_model.token_ranges";
const SERVER = "it belongs to the server of TensorRT-LLM";
const ENGINE = "it belongs to the engine of TensorRT-LLM";
const CACHE = "set kv_cache_dtype, attn_page_size and free_mem_ratio";

const GROUPS: readonly (readonly [reason: string, names: readonly string[]])[] = [
  [ONE_DEVICE, [
    "world_size",
    "dist_config",
    "dist_mapping",
    "gpus_per_node",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "context_parallel_size",
    "moe_cluster_parallel_size",
    "moe_tensor_parallel_size",
    "moe_expert_parallel_size",
    "enable_attention_dp",
    "allreduce_strategy",
    "simple_shard_only",
    "sharding_dims",
    "sharding_source",
    "use_sharding_from_factory",
    "support_partial_config",
  ]],
  [NO_TORCH, [
    "mode",
    "runtime",
    "backend",
    "device",
    "checkpoint_device",
    "model_factory",
    "tokenizer_factory",
    "model_kwargs",
    "tokenizer_kwargs",
    "skip_loading_weights",
    "trust_remote_code",
    "disable_overlap_scheduler",
    "garbage_collection_gen0_threshold",
    "mla_backend",
  ]],
  [FROM_FOLDER, [
    "dtype",
    "tokenizer",
    "revision",
    "tokenizer_revision",
    "load_format",
    "quant_config",
    "calib_config",
  ]],
  [NO_DRAFT, ["speculative_config", "draft_checkpoint_loader", "decoding_config"]],
  [NO_CUDA_GRAPH, ["cuda_graph_config", "torch_compile_config", "use_cuda_graph"]],
  [CACHE, ["kv_cache_config"]],
  ["prompts longer than max_num_tokens are always cut", ["enable_chunked_prefill"]],
  [SERVER, [
    "num_postprocess_workers",
    "postprocess_tokenizer_dir",
    "reasoning_parser",
    "stream_interval",
    "return_perf_metrics",
    "perf_metrics_max_requests",
    "otlp_traces_endpoint",
  ]],
  [ENGINE, [
    "max_input_len",
    "max_beam_width",
    "sampler_type",
    "scheduler_config",
    "cache_transceiver_config",
    "sparse_attention_config",
    "peft_cache_config",
    "lora_config",
    "enable_lora",
    "guided_decoding_backend",
    "batched_logits_processor",
    "gather_generation_logits",
    "iter_stats_max_iterations",
    "request_stats_max_iterations",
    "enable_iter_perf_stats",
    "enable_iter_req_stats",
    "print_iter_log",
    "fail_fast_on_attention_window_too_large",
    "visualize",
  ]],
];

const SETTINGS: ReadonlyMap<string, string> = new Map(
  GROUPS.flatMap(([reason, names]) => names.map((name) => [name, reason])),
);

/** Fields of transforms that exist here; `*` is every transform. */
const FIELDS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "*": { debug_visualize_dir: "use visualize_namespace" },
  build_model: { device: "nothing is allocated while the graph is built" },
  export_to_gm: { num_moe_experts_for_export: "the graph is built with all experts, not traced" },
  detect_sharding: { simple_shard_filter: "a deployment runs on one device" },
  fuse_finegrained_fp8_moe: {
    allow_different_input_scales: "activations are scaled by block, whichever expert they go to",
  },
  fuse_nvfp4_moe: {
    allow_different_input_scales: "every expert has its own input scale",
  },
  quantize_nvfp4_linear_from_config: { load_for_onnx_export: "nothing is exported to ONNX" },
  quantize_mxfp4_moe: {
    backend: "set fuse_mxfp4_moe.backend, or fuse_moe.backend",
    trtllm_quant_act: "activations stay as they are in front of MXFP4 weights",
  },
  fuse_rmsnorm: { backend: "WebGPU has one implementation" },
  insert_cached_attention: { cache_config: CACHE },
};

/** Top-level names that would load further files: refused, so that none is left out silently. */
const FILE_LISTS: ReadonlySet<string> = new Set(["yaml_extra", "yaml_configs"]);

/** Why a top-level name does nothing here, or undefined for other names. */
export function inapplicableSetting(name: string): string | undefined {
  return SETTINGS.get(name);
}

/** All such names. */
export function inapplicableSettings(): readonly string[] {
  return [...SETTINGS.keys()];
}

/** Fields of a transform that do nothing here, with the reason of each. */
export function inapplicableFieldsOf(key: string): readonly (readonly [string, string])[] {
  return [key, "*"].flatMap((owner) =>
    Object.hasOwn(FIELDS, owner) ? Object.entries(FIELDS[owner]) : []
  );
}

/** Why a field does nothing here, or undefined for other fields. */
export function inapplicableField(key: string, field: string): string | undefined {
  return inapplicableFieldsOf(key).find(([name]) => name === field)?.[1];
}

/** Whether a top-level name lists further files. */
export function listsFiles(name: string): boolean {
  return FILE_LISTS.has(name);
}
