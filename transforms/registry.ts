/**
 * The one list of transforms. YAML keys, DSL methods, the JSON Schema and the reference page are
 * derived from it.
 *
 * @module
 */

import type { z } from "zod";
import { invariant } from "../graph/mod.ts";
import { buildModel } from "./build_model.ts";
import { cleanupInputConstraints } from "./cleanup_input_constraints.ts";
import { cleanupNoopAdd } from "./cleanup_noop_add.ts";
import { cleanupNoopSlice } from "./cleanup_noop_slice.ts";
import { compileModel } from "./compile_model.ts";
import type { AnyTransform } from "./config.ts";
import { exportToGm } from "./export_to_gm.ts";
import { fuseAddRmsNorm } from "./fuse_add_rms_norm.ts";
import { fuseFinegrainedFp8Moe } from "./fuse_finegrained_fp8_moe.ts";
import { fuseFp8Moe } from "./fuse_fp8_moe.ts";
import { fuseGemms } from "./fuse_gemms.ts";
import { fuseMoe } from "./fuse_moe.ts";
import { fuseMxfp4Moe } from "./fuse_mxfp4_moe.ts";
import { fuseNvfp4Moe } from "./fuse_nvfp4_moe.ts";
import { fuseResidual } from "./fuse_residual.ts";
import { fuseRmsnorm } from "./fuse_rmsnorm.ts";
import { fuseSwiglu } from "./fuse_swiglu.ts";
import { gatherLogitsBeforeLmHead } from "./gather_logits_before_lm_head.ts";
import { initializeCache } from "./initialize_cache.ts";
import { insertCachedAttention } from "./insert_cached_attention.ts";
import { loadWeights } from "./load_weights.ts";
import { matchEagerAttention } from "./match_eager_attention.ts";
import { matchGroupedAttention } from "./match_grouped_attention.ts";
import { matchMoePattern } from "./match_moe_pattern.ts";
import { matchRepeatKv } from "./match_repeat_kv.ts";
import { matchRmsnormPattern } from "./match_rmsnorm_pattern.ts";
import { matchRopePattern } from "./match_rope_pattern.ts";
import { matchRouterPattern } from "./match_router_pattern.ts";
import { matchSwigluPattern } from "./match_swiglu_pattern.ts";
import { moveInputsToDevice } from "./move_inputs_to_device.ts";
import { quantizeFinegrainedFp8LinearFromConfig } from "./quantize_finegrained_fp8_linear_from_config.ts";
import { quantizeFinegrainedFp8Moe } from "./quantize_finegrained_fp8_moe.ts";
import { quantizeFp8LinearFromConfig } from "./quantize_fp8_linear_from_config.ts";
import { quantizeFp8Moe } from "./quantize_fp8_moe.ts";
import { quantizeLinear } from "./quantize_linear.ts";
import { quantizeMoe } from "./quantize_moe.ts";
import { quantizeMxfp4Moe } from "./quantize_mxfp4_moe.ts";
import { quantizeNvfp4LinearFromConfig } from "./quantize_nvfp4_linear_from_config.ts";
import { quantizeNvfp4Moe } from "./quantize_nvfp4_moe.ts";
import { resizeKvCache } from "./resize_kv_cache.ts";
import { detectSharding, shardingTransformExecutor } from "./sharding.ts";
import type { BaseConfig } from "./transform.ts";
import { visualizeNamespace } from "./visualize_namespace.ts";

/** In the order of `configs/default.yaml`. */
const LIST = [
  buildModel,
  exportToGm,
  cleanupNoopSlice,
  cleanupNoopAdd,
  cleanupInputConstraints,
  matchMoePattern,
  matchRouterPattern,
  matchRepeatKv,
  matchEagerAttention,
  matchGroupedAttention,
  matchRopePattern,
  matchRmsnormPattern,
  quantizeFp8LinearFromConfig,
  quantizeFinegrainedFp8LinearFromConfig,
  quantizeNvfp4LinearFromConfig,
  quantizeFp8Moe,
  quantizeFinegrainedFp8Moe,
  quantizeNvfp4Moe,
  quantizeMxfp4Moe,
  quantizeMoe,
  quantizeLinear,
  matchSwigluPattern,
  detectSharding,
  shardingTransformExecutor,
  loadWeights,
  moveInputsToDevice,
  fuseGemms,
  fuseMoe,
  fuseFp8Moe,
  fuseFinegrainedFp8Moe,
  fuseNvfp4Moe,
  fuseMxfp4Moe,
  gatherLogitsBeforeLmHead,
  fuseRmsnorm,
  fuseResidual,
  fuseAddRmsNorm,
  fuseSwiglu,
  visualizeNamespace,
  insertCachedAttention,
  initializeCache,
  resizeKvCache,
  compileModel,
] as const;

/** A registered transform. */
export type RegisteredTransform = (typeof LIST)[number];

/** Key of a registered transform. */
export type TransformKey = RegisteredTransform["key"];

/** The registered transform of a key. */
export type TransformOf<Key extends TransformKey> = Extract<RegisteredTransform, { key: Key }>;

/** Fields that one may write for a transform: its own and those of every transform. */
export type TransformFields<Key extends TransformKey> =
  & OwnFields<z.input<TransformOf<Key>["config"]>>
  & Partial<BaseConfig>;

/** The same for a definition that is not registered, from the shape of its own fields. */
export type DefinitionFields<Own extends z.ZodRawShape> =
  & OwnFields<z.input<z.ZodObject<Own>>>
  & Partial<BaseConfig>;

/** `z.object({})` reads a record of nothing at all, which would refuse the fields of every transform. */
type OwnFields<Input> = string extends keyof Input ? unknown : Input;

/** Every transform by key, in the order of `configs/default.yaml`. */
export const TRANSFORMS = byKey(LIST) as {
  readonly [Key in TransformKey]: TransformOf<Key>;
};

/** The transform of a key, or undefined. */
export function findTransform(key: string): AnyTransform | undefined {
  const table: Readonly<Record<string, AnyTransform>> = TRANSFORMS;
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

/** All keys, in order. */
export function transformKeys(): readonly TransformKey[] {
  return LIST.map((definition) => definition.key);
}

/** A table of definitions; two of one key are a mistake in the list. */
export function byKey(list: readonly AnyTransform[]): Readonly<Record<string, AnyTransform>> {
  const table: Record<string, AnyTransform> = {};
  for (const definition of list) {
    invariant(!(definition.key in table), `transform "${definition.key}" is registered twice`);
    table[definition.key] = definition;
  }
  return table;
}
