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
const CLEAN_BEFORE = "set requires_clean_graph";
const STREAMED = "weights go from the file to the executor's memory";
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
    "enable_lm_head_tp_in_adp",
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
    "skip_tokenizer_init",
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
  [NO_DRAFT, [
    "speculative_config",
    "speculative_model_kwargs",
    "draft_checkpoint_loader",
    "decoding_config",
  ]],
  [NO_CUDA_GRAPH, ["cuda_graph_config", "torch_compile_config", "use_cuda_graph"]],
  [CACHE, ["kv_cache_config", "kv_cache_free_gpu_memory_fraction"]],
  ["prompts longer than max_num_tokens are always cut", ["enable_chunked_prefill"]],
  ["it belongs to the benchmarks of TensorRT-LLM", ["benchmark_enabled"]],
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
  "*": {
    debug_visualize_dir: "use visualize_namespace",
    pre_graph_cleanup: CLEAN_BEFORE,
    pre_shape_prop: "set requires_shape_prop",
    post_shape_prop: "set run_shape_prop",
    pre_recompile_forward: NO_TORCH,
  },
  build_model: { device: "nothing is allocated while the graph is built" },
  export_to_gm: { num_moe_experts_for_export: "the graph is built with all experts, not traced" },
  detect_sharding: {
    simple_shard_filter: ONE_DEVICE,
    exclude_shard_node_filter: ONE_DEVICE,
    allgather_strategy: ONE_DEVICE,
    use_fused_qk_norm: ONE_DEVICE,
    use_allgather_qk_norm: ONE_DEVICE,
    enable_sharder_ir: ONE_DEVICE,
  },
  load_weights: { disable_preload: STREAMED },
  move_inputs_to_device: { checkpoint_device: STREAMED },
  fuse_finegrained_fp8_moe: {
    allow_different_input_scales: "activations are scaled by block, whichever expert they go to",
  },
  fuse_nvfp4_moe: {
    allow_different_input_scales: "every expert has its own input scale",
    use_internal_routing: "the router is a kernel of its own",
  },
  quantize_nvfp4_linear_from_config: { load_for_onnx_export: "nothing is exported to ONNX" },
  quantize_mxfp4_moe: {
    backend: "set fuse_mxfp4_moe.backend, or fuse_moe.backend",
    trtllm_quant_act: "activations stay as they are in front of MXFP4 weights",
  },
  fuse_rmsnorm: { backend: "WebGPU has one implementation" },
  insert_cached_attention: { cache_config: CACHE },
};

/** Values of fields that exist here; the field then has its default. */
const VALUES: Readonly<Record<string, readonly [values: readonly string[], reason: string]>> = {
  "fuse_nvfp4_moe.backend": [["cutlass", "trtllm_gen"], "it names kernels of CUDA"],
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

/** Values of a field that do nothing here, and why; undefined where all that it takes do something. */
export function inapplicableValues(
  key: string,
  field: string,
): readonly [values: readonly string[], reason: string] | undefined {
  const place = `${key}.${field}`;
  return Object.hasOwn(VALUES, place) ? VALUES[place] : undefined;
}

/** Why a value of a field does nothing here; undefined for others, and for those that its schema takes. */
export function inapplicableValue(
  key: string,
  field: string,
  value: unknown,
  schema?: { safeParse(value: unknown): { success: boolean } },
): string | undefined {
  const [values, reason] = inapplicableValues(key, field) ?? [[]];
  const isOne = values.some((each) => each === value) && !schema?.safeParse(value).success;
  return isOne ? reason : undefined;
}

/** Whether a top-level name lists further files. */
export function listsFiles(name: string): boolean {
  return FILE_LISTS.has(name);
}
