/**
 * Fields of transforms as a pipeline takes them. Written by `deno task gen` from the schemas.
 *
 * @module
 */

import type { MoeBackendName } from "../kernels/mod.ts";
import type { Stage } from "./core/stage.ts";

/** Values of the fields that every transform has. */
export type BaseConfig = {
  /** Stage the transform runs in. */
  readonly stage: Stage;
  /** Whether the transform runs at all. */
  readonly enabled: boolean;
  /** On an error, restore the graph and go on instead of stopping. */
  readonly skip_on_error: boolean;
  /** Accepted for AutoDeploy's files; there is one graph. */
  readonly run_per_gm: boolean;
  /** Remove dead nodes after the transform. */
  readonly run_graph_cleanup: boolean;
  /** Infer types again after the transform. */
  readonly run_shape_prop: boolean;
  /** Remove dead nodes before the transform. */
  readonly requires_clean_graph: boolean;
  /** Infer types again before the transform. */
  readonly requires_shape_prop: boolean;
  /** The transform is expected to change the bytes of the weights. */
  readonly expect_mem_change: boolean;
  /** Keys that must have run before, when enabled. */
  readonly after: readonly string[];
  /** Keys that must run later, when enabled. */
  readonly before: readonly string[];
};

/** Fields of every transform, its own and those of all, by its key. */
export type FieldsByTransform = {
  readonly build_model: Partial<BaseConfig> & {
    /** Accepted for AutoDeploy's files; default true. */
    readonly use_strict_forward?: boolean | undefined;
  };
  readonly export_to_gm: Partial<BaseConfig> & {
    /** Accepted for AutoDeploy's files; default false. */
    readonly strict?: boolean | undefined;
    /** Accepted for AutoDeploy's files; default false. */
    readonly clone_state_dict?: boolean | undefined;
    /** Accepted for AutoDeploy's files; architectures here are written out, not traced. */
    readonly patch_list?: readonly string[] | null | undefined;
  };
  readonly cleanup_noop_slice: Partial<BaseConfig>;
  readonly cleanup_noop_add: Partial<BaseConfig>;
  readonly cleanup_input_constraints: Partial<BaseConfig>;
  readonly match_moe_pattern: Partial<BaseConfig>;
  readonly match_dense_moe_pattern: Partial<BaseConfig>;
  readonly match_bmm_moe_pattern: Partial<BaseConfig>;
  readonly match_router_pattern: Partial<BaseConfig>;
  readonly match_repeat_kv: Partial<BaseConfig>;
  readonly match_eager_attention: Partial<BaseConfig>;
  readonly match_grouped_attention: Partial<BaseConfig>;
  readonly match_rope_pattern: Partial<BaseConfig>;
  readonly match_rmsnorm_pattern: Partial<BaseConfig>;
  readonly match_layernorm_pattern: Partial<BaseConfig>;
  readonly match_l2norm_pattern: Partial<BaseConfig>;
  readonly fuse_shared_experts: Partial<BaseConfig>;
  readonly quantize_fp8_linear_from_config: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_finegrained_fp8_linear_from_config: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_nvfp4_linear_from_config: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_mxfp4_linear_from_config: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_int8_linear_from_config: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_int4_linear_from_config: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_fp8_moe: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_finegrained_fp8_moe: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_nvfp4_moe: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_mxfp4_moe: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_int8_moe: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_int4_moe: Partial<BaseConfig> & {
    /**
     * Rounding of activations before each product; auto: static where an FP8 checkpoint has input
     * scales, none elsewhere; default "auto".
     */
    readonly activation_quant?: "auto" | "static" | "dynamic" | "none" | undefined;
    /** Module paths to leave dequantized; * stands for any characters; default []. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly quantize_moe: Partial<BaseConfig> & {
    /** Format the weights are quantized to, rounding to nearest even; default "int8". */
    readonly format?: "fp8_e4m3" | "mxfp4" | "int8" | "int4" | undefined;
    /**
     * Columns of a row that share a scale (int8, int4; null is 32), or rows and columns (fp8_e4m3;
     * null is one scale per matrix); mxfp4 always has 32.
     */
    readonly block?: number | null | undefined;
    /** Module paths to quantize; * stands for any characters; default "*". */
    readonly layers?: string | undefined;
  };
  readonly quantize_linear: Partial<BaseConfig> & {
    /** Format the weights are quantized to, rounding to nearest even; default "int8". */
    readonly format?: "fp8_e4m3" | "mxfp4" | "int8" | "int4" | undefined;
    /**
     * Columns of a row that share a scale (int8, int4; null is 32), or rows and columns (fp8_e4m3;
     * null is one scale per matrix); mxfp4 always has 32.
     */
    readonly block?: number | null | undefined;
    /** Module paths to quantize; * stands for any characters; default "*". */
    readonly layers?: string | undefined;
    /** Module paths to leave as they are; * stands for any characters; default ["lm_head"]. */
    readonly exclude?: readonly string[] | undefined;
  };
  readonly match_swiglu_pattern: Partial<BaseConfig>;
  readonly detect_sharding: Partial<BaseConfig> & {
    /** Unused with one device; default false. */
    readonly simple_shard_only?: boolean | undefined;
    /** Unused with one device; default ["manual","factory","heuristic"]. */
    readonly sharding_source?: readonly string[] | undefined;
    /** Unused with one device; default true. */
    readonly support_partial_config?: boolean | undefined;
    /** Unused with one device; default ["tp","ep","bmm"]. */
    readonly sharding_dims?: readonly string[] | undefined;
    /** Unused with one device; default true. */
    readonly shard_all_unprocessed?: boolean | undefined;
    /** Unused with one device; default false. */
    readonly enable_attention_dp?: boolean | undefined;
    /** Unused with one device; default "NCCL". */
    readonly allreduce_strategy?: string | undefined;
    /** Unused with one device; default "auto". */
    readonly dist_backend?: string | undefined;
    /** Unused with one device; default {}. */
    readonly factory_config?: Readonly<Record<string, unknown>> | undefined;
    /** Unused with one device; default {}. */
    readonly manual_config?: Readonly<Record<string, unknown>> | undefined;
    /** Unused with one device; default {}. */
    readonly dist_mapping?: Readonly<Record<string, unknown>> | undefined;
  };
  readonly sharding_transform_executor: Partial<BaseConfig>;
  readonly load_weights: Partial<BaseConfig> & {
    /** Accepted for AutoDeploy's files; weights go from the file to the executor's memory. */
    readonly checkpoint_device?: string | null | undefined;
  };
  readonly move_inputs_to_device: Partial<BaseConfig>;
  readonly fuse_gemms: Partial<BaseConfig>;
  readonly fuse_moe: Partial<BaseConfig> & {
    /** Implementation of the fused op; default "auto". */
    readonly backend?: MoeBackendName | undefined;
    /**
     * Type of the operands in workgroup memory, for many tokens on WebGPU; f16 needs shader-f16,
     * rounds activations and makes those above 65504 infinite; auto is f16 where that means tensor
     * cores; sums stay f32; unless it is written, the setting operands counts; default "f32".
     */
    readonly operands?: "f32" | "f16" | "auto" | undefined;
    /** Backends and operands of single layers; the last matching entry applies; default []. */
    readonly overrides?: readonly ({ readonly match: string; readonly backend: MoeBackendName; readonly operands?: "f32" | "f16" | "auto" | undefined })[] | undefined;
  };
  readonly fuse_fp8_moe: Partial<BaseConfig> & {
    /** Implementation of the fused op; default "auto". */
    readonly backend?: MoeBackendName | undefined;
    /**
     * Type of the operands in workgroup memory, for many tokens on WebGPU; f16 needs shader-f16,
     * rounds activations and makes those above 65504 infinite; auto is f16 where that means tensor
     * cores; sums stay f32; unless it is written, the setting operands counts; default "f32".
     */
    readonly operands?: "f32" | "f16" | "auto" | undefined;
    /** Backends and operands of single layers; the last matching entry applies; default []. */
    readonly overrides?: readonly ({ readonly match: string; readonly backend: MoeBackendName; readonly operands?: "f32" | "f16" | "auto" | undefined })[] | undefined;
    /**
     * AutoDeploy's field: false refuses experts whose input scales differ (policy same), true rounds
     * all with the largest scale (policy max).
     */
    readonly allow_different_input_scales?: boolean | null | undefined;
    /**
     * Scale that rounds the input of an expert; null is per_expert unless
     * allow_different_input_scales is set.
     */
    readonly input_scale_policy?: "same" | "max" | "per_expert" | null | undefined;
  };
  readonly fuse_finegrained_fp8_moe: Partial<BaseConfig> & {
    /** Implementation of the fused op; default "auto". */
    readonly backend?: MoeBackendName | undefined;
    /**
     * Type of the operands in workgroup memory, for many tokens on WebGPU; f16 needs shader-f16,
     * rounds activations and makes those above 65504 infinite; auto is f16 where that means tensor
     * cores; sums stay f32; unless it is written, the setting operands counts; default "f32".
     */
    readonly operands?: "f32" | "f16" | "auto" | undefined;
    /** Backends and operands of single layers; the last matching entry applies; default []. */
    readonly overrides?: readonly ({ readonly match: string; readonly backend: MoeBackendName; readonly operands?: "f32" | "f16" | "auto" | undefined })[] | undefined;
  };
  readonly fuse_nvfp4_moe: Partial<BaseConfig> & {
    /** Implementation of the fused op; default "auto". */
    readonly backend?: MoeBackendName | undefined;
    /**
     * Type of the operands in workgroup memory, for many tokens on WebGPU; f16 needs shader-f16,
     * rounds activations and makes those above 65504 infinite; auto is f16 where that means tensor
     * cores; sums stay f32; unless it is written, the setting operands counts; default "f32".
     */
    readonly operands?: "f32" | "f16" | "auto" | undefined;
    /** Backends and operands of single layers; the last matching entry applies; default []. */
    readonly overrides?: readonly ({ readonly match: string; readonly backend: MoeBackendName; readonly operands?: "f32" | "f16" | "auto" | undefined })[] | undefined;
  };
  readonly fuse_mxfp4_moe: Partial<BaseConfig> & {
    /** Implementation of the fused op; default "auto". */
    readonly backend?: MoeBackendName | undefined;
    /**
     * Type of the operands in workgroup memory, for many tokens on WebGPU; f16 needs shader-f16,
     * rounds activations and makes those above 65504 infinite; auto is f16 where that means tensor
     * cores; sums stay f32; unless it is written, the setting operands counts; default "f32".
     */
    readonly operands?: "f32" | "f16" | "auto" | undefined;
    /** Backends and operands of single layers; the last matching entry applies; default []. */
    readonly overrides?: readonly ({ readonly match: string; readonly backend: MoeBackendName; readonly operands?: "f32" | "f16" | "auto" | undefined })[] | undefined;
  };
  readonly gather_logits_before_lm_head: Partial<BaseConfig>;
  readonly fuse_rmsnorm: Partial<BaseConfig> & {
    /** Accepted for AutoDeploy's files; WebGPU has one implementation; default "auto". */
    readonly rmsnorm_backend?: "auto" | "flashinfer" | "triton" | "torch" | undefined;
    /** Accepted for AutoDeploy's files; no architecture here has a gated norm; default "auto". */
    readonly gated_rmsnorm_backend?: "auto" | "flashinfer" | "triton" | "torch" | undefined;
  };
  readonly fuse_post_norm: Partial<BaseConfig>;
  readonly fuse_residual: Partial<BaseConfig>;
  readonly fuse_add_rms_norm: Partial<BaseConfig>;
  readonly fuse_swiglu: Partial<BaseConfig> & {
    /** Accepted for AutoDeploy's files; WebGPU has one implementation; default "auto". */
    readonly swiglu_backend?: "auto" | "fused" | "triton" | "torch" | undefined;
  };
  readonly visualize_namespace: Partial<BaseConfig> & {
    /** Folder for the files, made when absent; default "graphs". */
    readonly folder?: string | undefined;
    /**
     * What to write: the listing, Graphviz, the page (when the deployment is ready); default
     * ["text","dot","html"].
     */
    readonly formats?: readonly ("text" | "dot" | "html")[] | undefined;
    /**
     * Text whose tokens the page uses to show how often each expert is chosen; default "Once upon a
     * time, there was a little girl named Lily.".
     */
    readonly sample?: string | undefined;
  };
  readonly insert_cached_mla_attention: Partial<BaseConfig> & {
    /** Accepted for AutoDeploy's files; WebGPU has one attention over latents; default "auto". */
    readonly backend?: "auto" | "flashinfer_mla" | "flashinfer_trtllm_mla" | "torch_mla" | "triton_mla" | "trtllm_mla" | undefined;
    /**
     * Element type of latents in the cache; auto is that of insert_cached_attention, or f16; default
     * "auto".
     */
    readonly cache_dtype?: "auto" | "f16" | "f32" | "fp8" | undefined;
    /**
     * Tokens of a sequence in a step from which WebGPU makes keys and values of its latents (expanded
     * form) instead of taking its queries to them; auto: where that is less arithmetic; default
     * "auto".
     */
    readonly expand_from?: "auto" | "never" | number | undefined;
  };
  readonly insert_cached_attention: Partial<BaseConfig> & {
    /** Accepted for AutoDeploy's files; WebGPU has one paged attention; default "auto". */
    readonly backend?: "auto" | "flashinfer" | "triton" | "triton_paged" | "torch" | "trtllm" | "deepseek_v4_sparse" | "nanojet" | undefined;
    /**
     * Element type of keys and values in the cache; auto is f16, fp8 is E4M3, which saturates at 448;
     * default "auto".
     */
    readonly cache_dtype?: "auto" | "f16" | "f32" | "fp8" | undefined;
  };
  readonly scale_kv_cache: Partial<BaseConfig>;
  readonly initialize_cache: Partial<BaseConfig> & {
    /** Tokens per page of the cache; default 16. */
    readonly page_size?: number | undefined;
  };
  readonly resize_kv_cache: Partial<BaseConfig> & {
    /**
     * Fraction of the free memory for pages, as in AutoDeploy; kept, and reported to have no effect;
     * default 0.
     */
    readonly free_mem_ratio?: number | undefined;
  };
  readonly compile_model: Partial<BaseConfig> & {
    /**
     * Accepted for AutoDeploy's files; pipelines and bind groups are always prepared ahead; default
     * "auto".
     */
    readonly backend?: "auto" | "torch-simple" | "torch-compile" | "torch-cudagraph" | "torch-opt" | undefined;
    /**
     * Largest step of each range of tokens that gets its own dispatches; null is 1, 8, 32, 128, ...
     */
    readonly token_ranges?: readonly number[] | null | undefined;
    /** AutoDeploy's name for token_ranges; used when token_ranges is null. */
    readonly cuda_graph_batch_sizes?: readonly number[] | null | undefined;
    /**
     * Type of the operands of dense layers and attention for many tokens on WebGPU: f16 and auto are
     * f16 where that means tensor cores, with sums in f32, and f32 elsewhere; unless it is written,
     * the setting operands counts; default "f32".
     */
    readonly operands?: "f32" | "f16" | "auto" | undefined;
    /** Accepted for AutoDeploy's files; default 2. */
    readonly num_batched_inputs?: number | undefined;
    /** Accepted for AutoDeploy's files; default false. */
    readonly piecewise_enabled?: boolean | undefined;
    /** Accepted for AutoDeploy's files. */
    readonly piecewise_num_tokens?: readonly number[] | null | undefined;
  };
};

/** Key of a registered transform. */
export type TransformKey = keyof FieldsByTransform;

/** Fields of a transform in a configuration: its own and those of every transform. */
export type TransformFields<Key extends TransformKey> = FieldsByTransform[Key];
