/**
 * Methods of pipelines, one for each transform. Written by `deno task gen` from the schemas.
 *
 * @module
 */

import type { FieldsByTransform } from "../transforms/mod.ts";

/** One method for each registered transform: `fuse_moe` is `fuseMoe({ .. })`. */
export interface TransformMethods<Pipeline> {
  /** Choose the architecture that config.json names. */
  buildModel(fields?: FieldsByTransform["build_model"]): Pipeline;
  /** Make the eager graph of the model. */
  exportToGm(fields?: FieldsByTransform["export_to_gm"]): Pipeline;
  /** Remove slices that take a whole dimension. */
  cleanupNoopSlice(fields?: FieldsByTransform["cleanup_noop_slice"]): Pipeline;
  /** Remove additions of zero that keep the shape. */
  cleanupNoopAdd(fields?: FieldsByTransform["cleanup_noop_add"]): Pipeline;
  /** Accepted for AutoDeploy's files; symbols here have no bounds to widen. */
  cleanupInputConstraints(fields?: FieldsByTransform["cleanup_input_constraints"]): Pipeline;
  /** Replace a loop over experts by `moe`. */
  matchMoePattern(fields?: FieldsByTransform["match_moe_pattern"]): Pipeline;
  /** Replace batched experts with routing on their output by `moe`. */
  matchDenseMoePattern(fields?: FieldsByTransform["match_dense_moe_pattern"]): Pipeline;
  /** Replace batched experts with routing on their input by `moe`. */
  matchBmmMoePattern(fields?: FieldsByTransform["match_bmm_moe_pattern"]): Pipeline;
  /** Replace the scoring and choice of experts by `moe_router`. */
  matchRouterPattern(fields?: FieldsByTransform["match_router_pattern"]): Pipeline;
  /** Replace the repetition of key and value heads by `repeat_kv`. */
  matchRepeatKv(fields?: FieldsByTransform["match_repeat_kv"]): Pipeline;
  /** Replace matmul, softmax, matmul by `attention`. */
  matchEagerAttention(fields?: FieldsByTransform["match_eager_attention"]): Pipeline;
  /** Let `attention` read key and value heads in groups, without copies. */
  matchGroupedAttention(fields?: FieldsByTransform["match_grouped_attention"]): Pipeline;
  /** Replace cos, sin and rotate-half by `rope`. */
  matchRopePattern(fields?: FieldsByTransform["match_rope_pattern"]): Pipeline;
  /** Replace the elementwise form of RMSNorm by `rms_norm`. */
  matchRmsnormPattern(fields?: FieldsByTransform["match_rmsnorm_pattern"]): Pipeline;
  /** Replace RMSNorm of a centred value, and its bias, by `layer_norm`. */
  matchLayernormPattern(fields?: FieldsByTransform["match_layernorm_pattern"]): Pipeline;
  /** Replace the elementwise form of a norm without weight by `l2_norm`. */
  matchL2normPattern(fields?: FieldsByTransform["match_l2norm_pattern"]): Pipeline;
  /** Make shared experts a part of the layer of experts. */
  fuseSharedExperts(fields?: FieldsByTransform["fuse_shared_experts"]): Pipeline;
  /** Keep FP8 linear layers (a scale for each matrix or row) as codes and scales. */
  quantizeFp8LinearFromConfig(fields?: FieldsByTransform["quantize_fp8_linear_from_config"]): Pipeline;
  /** Keep block-FP8 linear layers as codes and scales. */
  quantizeFinegrainedFp8LinearFromConfig(fields?: FieldsByTransform["quantize_finegrained_fp8_linear_from_config"]): Pipeline;
  /** Keep NVFP4 linear layers as codes and scales. */
  quantizeNvfp4LinearFromConfig(fields?: FieldsByTransform["quantize_nvfp4_linear_from_config"]): Pipeline;
  /** Keep MXFP4 linear layers as codes and scales. */
  quantizeMxfp4LinearFromConfig(fields?: FieldsByTransform["quantize_mxfp4_linear_from_config"]): Pipeline;
  /** Keep INT8 linear layers as codes and scales. */
  quantizeInt8LinearFromConfig(fields?: FieldsByTransform["quantize_int8_linear_from_config"]): Pipeline;
  /** Keep INT4 linear layers as codes and scales. */
  quantizeInt4LinearFromConfig(fields?: FieldsByTransform["quantize_int4_linear_from_config"]): Pipeline;
  /** Keep FP8 experts (a scale for each matrix or row) as codes and scales. */
  quantizeFp8Moe(fields?: FieldsByTransform["quantize_fp8_moe"]): Pipeline;
  /** Keep block-FP8 experts as codes and scales. */
  quantizeFinegrainedFp8Moe(fields?: FieldsByTransform["quantize_finegrained_fp8_moe"]): Pipeline;
  /** Keep NVFP4 experts as codes and scales. */
  quantizeNvfp4Moe(fields?: FieldsByTransform["quantize_nvfp4_moe"]): Pipeline;
  /** Keep MXFP4 experts as codes and scales. */
  quantizeMxfp4Moe(fields?: FieldsByTransform["quantize_mxfp4_moe"]): Pipeline;
  /** Keep INT8 experts as codes and scales. */
  quantizeInt8Moe(fields?: FieldsByTransform["quantize_int8_moe"]): Pipeline;
  /** Keep INT4 experts as codes and scales. */
  quantizeInt4Moe(fields?: FieldsByTransform["quantize_int4_moe"]): Pipeline;
  /** Quantize experts while they load. */
  quantizeMoe(fields?: FieldsByTransform["quantize_moe"]): Pipeline;
  /** Quantize dense linear layers while they load. */
  quantizeLinear(fields?: FieldsByTransform["quantize_linear"]): Pipeline;
  /** Replace a dense gated MLP by `gated_mlp`. */
  matchSwigluPattern(fields?: FieldsByTransform["match_swiglu_pattern"]): Pipeline;
  /** Accepted for AutoDeploy's files; skipped, because there is one device. */
  detectSharding(fields?: FieldsByTransform["detect_sharding"]): Pipeline;
  /** Accepted for AutoDeploy's files; skipped, because there is one device. */
  shardingTransformExecutor(fields?: FieldsByTransform["sharding_transform_executor"]): Pipeline;
  /** Report every tensor of the checkpoint that the graph does not read. */
  loadWeights(fields?: FieldsByTransform["load_weights"]): Pipeline;
  /** Accepted for AutoDeploy's files; the executor writes inputs to its device itself. */
  moveInputsToDevice(fields?: FieldsByTransform["move_inputs_to_device"]): Pipeline;
  /** Join linear layers with the same input into one. */
  fuseGemms(fields?: FieldsByTransform["fuse_gemms"]): Pipeline;
  /** Stack expert weights and replace `moe` by a fused backend. */
  fuseMoe(fields?: FieldsByTransform["fuse_moe"]): Pipeline;
  /** Stack FP8 experts and replace `moe` by a fused backend. */
  fuseFp8Moe(fields?: FieldsByTransform["fuse_fp8_moe"]): Pipeline;
  /** Stack block-FP8 experts and replace `moe` by a fused backend. */
  fuseFinegrainedFp8Moe(fields?: FieldsByTransform["fuse_finegrained_fp8_moe"]): Pipeline;
  /** Stack NVFP4 experts and replace `moe` by a fused backend. */
  fuseNvfp4Moe(fields?: FieldsByTransform["fuse_nvfp4_moe"]): Pipeline;
  /** Stack MXFP4 experts and replace `moe` by a fused backend. */
  fuseMxfp4Moe(fields?: FieldsByTransform["fuse_mxfp4_moe"]): Pipeline;
  /** Make logits only for the rows that are wanted. */
  gatherLogitsBeforeLmHead(fields?: FieldsByTransform["gather_logits_before_lm_head"]): Pipeline;
  /** Move RMSNorm into the linear layers or the router that read it. */
  fuseRmsnorm(fields?: FieldsByTransform["fuse_rmsnorm"]): Pipeline;
  /** Join a norm behind a block, the residual addition and the norms that read the sum. */
  fusePostNorm(fields?: FieldsByTransform["fuse_post_norm"]): Pipeline;
  /** Move residual additions into the linear, MLP or MoE op in front of them. */
  fuseResidual(fields?: FieldsByTransform["fuse_residual"]): Pipeline;
  /** Join a residual addition and the norm behind it. */
  fuseAddRmsNorm(fields?: FieldsByTransform["fuse_add_rms_norm"]): Pipeline;
  /** Accepted for AutoDeploy's files; `gated_mlp` is one kernel for gate, up and activation. */
  fuseSwiglu(fields?: FieldsByTransform["fuse_swiglu"]): Pipeline;
  /** Write the graph as text and DOT, and a report of the deployment as an HTML page. */
  visualizeNamespace(fields?: FieldsByTransform["visualize_namespace"]): Pipeline;
  /** Replace latent attention by attention over a paged cache of latents. */
  insertCachedMlaAttention(fields?: FieldsByTransform["insert_cached_mla_attention"]): Pipeline;
  /**
   * Replace `attention`, and the norm, clamp and RoPE before it, by attention over a paged cache.
   */
  insertCachedAttention(fields?: FieldsByTransform["insert_cached_attention"]): Pipeline;
  /** Divide keys and values of an FP8 cache by the checkpoint's scales. */
  scaleKvCache(fields?: FieldsByTransform["scale_kv_cache"]): Pipeline;
  /** Declare the paged cache of every attention layer. */
  initializeCache(fields?: FieldsByTransform["initialize_cache"]): Pipeline;
  /** Set how much free memory the cache may take. */
  resizeKvCache(fields?: FieldsByTransform["resize_kv_cache"]): Pipeline;
  /** Set the step sizes for which the runtime prepares dispatches. */
  compileModel(fields?: FieldsByTransform["compile_model"]): Pipeline;
}
