/**
 * Every name that the files of AutoDeploy's model registry and its other configurations use, with one
 * of each kind of values that they give it. Facts of some 140 files (`examples/auto_deploy/model_registry` and
 * `tensorrt_llm/_torch/auto_deploy/config`, as stored in 2026), without the files: what one of them
 * says is a choice of these.
 *
 * @module
 */

type Values = Readonly<Record<string, readonly unknown[]>>;

/** Names at the top level. */
export const REGISTRY_SETTINGS: Values = {
  attn_backend: [
    ...["trtllm", "flashinfer", "triton", "triton_paged", "torch", "deepseek_v4_sparse", "nanojet"],
  ],
  benchmark_enabled: [false],
  cache_transceiver_config: [{ backend: "DEFAULT", transceiver_runtime: "CPP" }],
  compile_backend: ["torch-cudagraph", "torch-simple", "torch-compile"],
  cuda_graph_batch_sizes: [[1, 2, 4]],
  cuda_graph_config: [null, { enable_padding: true, max_batch_size: 1024, batch_sizes: [1] }],
  disable_overlap_scheduler: [true],
  dtype: ["bfloat16"],
  enable_attention_dp: [false],
  enable_chunked_prefill: [true, false],
  enable_lm_head_tp_in_adp: [true],
  free_mem_ratio: [0],
  kv_cache_config: [
    { dtype: "fp8", enable_block_reuse: false, free_gpu_memory_fraction: 0.8, max_tokens: 512 },
    { tokens_per_block: 32, mamba_ssm_cache_dtype: "auto", mamba_ssm_philox_rounds: 5 },
    { mamba_ssm_stochastic_rounding: true },
  ],
  kv_cache_free_gpu_memory_fraction: [0.9],
  max_batch_size: [1, 1024],
  max_num_tokens: [512, 16384],
  max_seq_len: [511, 2097152],
  model_factory: ["AutoModelForCausalLM"],
  // The text is in deepseek_v3_lite.yaml.
  model_kwargs: [{ text_config: { num_hidden_layers: 5 } }, ".num_hidden_layers=10"],
  moe_expert_parallel_size: [1],
  runtime: ["trtllm", "demollm"],
  skip_loading_weights: [false],
  skip_tokenizer_init: [false],
  speculative_config: [{ decoding_type: "MTP", max_draft_len: 6, mtp_eagle_one_model: true }],
  speculative_model_kwargs: [{ num_hidden_layers: 2 }],
  stream_interval: [10],
  tensor_parallel_size: [2],
  tokenizer: ["meta-llama/Llama-2-7b-hf"],
  tokenizer_kwargs: [{ extra_special_tokens: {} }],
  trust_remote_code: [true],
  world_size: [1, 8],
};

/** Names of a file of tests or of another program, which AutoDeploy's own `LlmArgs` does not take. */
export const REGISTRY_OTHERS: readonly string[] = [
  ...["benchmark_enabled", "cuda_graph_batch_sizes", "enable_attention_dp", "free_mem_ratio"],
  ...["enable_lm_head_tp_in_adp", "kv_cache_free_gpu_memory_fraction", "tensor_parallel_size"],
  "moe_expert_parallel_size",
];

const SWITCH: Values = { enabled: [true, false] };
const OF_A_STAGE = (stage: string): Values => ({ ...SWITCH, stage: [stage] });
const FUSED = OF_A_STAGE("post_load_fusion");
const COMPILED = OF_A_STAGE("compile");

/** Fields by transform, besides those of the default pipeline. */
export const REGISTRY_TRANSFORMS: Readonly<Record<string, Values>> = {
  apply_sharding_hints: {
    ...SWITCH,
    allreduce_strategy: ["NCCL", "SYMM_MEM"],
    dist_mapping: [{ tp: 8, moe_ep: 8, moe_tp: 1, moe_cluster: 1 }],
    enable_attention_dp: [false],
    requires_shape_prop: [true],
    shard_layers: [["mla", "moe", "mlp"]],
    simple_shard_filter: ["lm_head"],
  },
  adapt_to_driveos_llm: { stage: ["export_onnx"], requires_clean_graph: [true] },
  adapt_to_edgellm: { stage: ["export_onnx"] },
  build_model: { run_graph_cleanup: [false] },
  bypass_qk_split_for_lamport: FUSED,
  cleanup_identity_dtype_cast: SWITCH,
  compile_model: {
    backend: ["torch-cudagraph"],
    num_batched_inputs: [8],
    piecewise_enabled: [true, false],
    piecewise_num_tokens: [[256, 512, 1024]],
  },
  detect_sharding: {
    ...SWITCH,
    allgather_strategy: ["SYMM_MEM"],
    allreduce_strategy: ["NCCL", "SYMM_MEM"],
    dist_mapping: [{ moe_tp: 8, moe_ep: 1 }],
    enable_attention_dp: [true, false],
    enable_sharder_ir: [true],
    exclude_shard_node_filter: ["q_a_proj,kv_a_proj_with_mqa"],
    manual_config: [{ head_dim: 128, tp_plan: { in_proj: "mamba", q_proj: "colwise" } }],
    shard_all_unprocessed: [true],
    sharding_dims: [["tp"], ["ep", "bmm", "tp"]],
    sharding_source: [["manual"]],
    simple_shard_filter: ["lm_head"],
    simple_shard_only: [true],
    use_allgather_qk_norm: [true],
    use_fused_qk_norm: [true],
  },
  export_to_gm: { num_moe_experts_for_export: [2, null] },
  export_to_onnx: { stage: ["export_onnx"], output_dir: ["."], output_name: ["model.onnx"] },
  fuse_add_rms_norm: SWITCH,
  fuse_allreduce_residual_rmsnorm: SWITCH,
  fuse_dsv3_a_gemm: SWITCH,
  fuse_dsv3_router_gemm: SWITCH,
  fuse_finegrained_fp8_linear: SWITCH,
  fuse_fp8_gemms: SWITCH,
  fuse_fp8_moe: { ...SWITCH, allow_different_input_scales: [true] },
  fuse_fp8_prequant_shared: FUSED,
  fuse_gelu_tanh_mul: SWITCH,
  fuse_gemms: SWITCH,
  fuse_gemms_mixed_children: SWITCH,
  fuse_mamba_a_log: FUSED,
  fuse_moe: { ...SWITCH, backend: ["trtllm"] },
  fuse_moe_allreduce_residual_rmsnorm: SWITCH,
  fuse_nanojet_attn_quant_fp8: SWITCH,
  fuse_nanojet_fused_qkv_gemm_norm_rope: SWITCH,
  fuse_nanojet_gemm_fp8_add: SWITCH,
  fuse_nanojet_rmsnorm_fp8: SWITCH,
  fuse_nanojet_swiglu_gemm_fp8: SWITCH,
  fuse_nvfp4_moe: {
    ...SWITCH,
    allow_different_input_scales: [true],
    backend: ["cutlass", "trtllm_gen"],
    use_internal_routing: [true],
  },
  fuse_nvfp4_swiglu: SWITCH,
  fuse_rmsnorm: { rmsnorm_backend: ["torch"] },
  fuse_rmsnorm_fp8_finegrained: FUSED,
  fuse_rmsnorm_quant_fp8: FUSED,
  fuse_rmsnorm_quant_nvfp4: SWITCH,
  fuse_rope_attention: { stage: ["export_onnx"] },
  fuse_rope_into_trtllm_attention: SWITCH,
  fuse_rope_into_trtllm_mla: { ...SWITCH, stage: ["cache_init"] },
  fuse_silu_mul: { ...SWITCH, backend: ["trtllm"] },
  fuse_swiglu: SWITCH,
  fuse_trtllm_attn_quant_fp8: SWITCH,
  gather_last_token_ids: { stage: ["export_onnx"] },
  gather_logits_before_lm_head: SWITCH,
  initialize_mrope_delta_cache: SWITCH,
  insert_cached_attention: { backend: ["deepseek_v4_sparse"] },
  insert_cached_causal_conv: { backend: ["triton_causal_conv"] },
  insert_cached_gated_delta_rule: { backend: ["fla_gated_delta"] },
  insert_cached_mla_attention: {
    backend: ["flashinfer_mla", "torch_mla", "triton_mla", "trtllm_mla"],
  },
  insert_cached_ssm_attention: { backend: ["flashinfer_ssm", "triton_ssm"], ssm_replay: [true] },
  load_factory_model_weights: { stage: ["weight_load"], run_graph_cleanup: [false] },
  load_weights: { checkpoint_device: ["cpu"], disable_preload: [true, false] },
  match_finegrained_fp8_swiglu_pattern: SWITCH,
  match_nvfp4_swiglu_pattern: SWITCH,
  match_swiglu_pattern: SWITCH,
  mlir_elementwise_fusion: SWITCH,
  move_inputs_to_device: { checkpoint_device: ["cpu"] },
  multi_stream_gemm: COMPILED,
  multi_stream_mla_attn: COMPILED,
  multi_stream_moe: COMPILED,
  optimize_rope: { stage: ["pattern_matcher"] },
  quantize_finegrained_fp8_linear_from_config: SWITCH,
  quantize_mxfp4_moe: { ...SWITCH, backend: ["trtllm"], trtllm_quant_act: ["mxfp8"] },
  sharding_transform_executor: SWITCH,
  short_reshape_attention_output: { stage: ["export_onnx"] },
  sync_tied_weights: { ...FUSED, run_per_gm: [false] },
  tag_vlm_mask_kind: OF_A_STAGE("cache_init"),
  transformers_replace_cached_attn: { stage: ["factory"], run_graph_cleanup: [false] },
};

/** Fields that any transform of a file for ONNX has besides. */
export const REGISTRY_ONNX_FIELDS: Values = {
  pre_graph_cleanup: [false],
  pre_recompile_forward: [true],
  pre_shape_prop: [true],
  post_shape_prop: [true],
};
