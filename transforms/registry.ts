/**
 * The one list of transforms. YAML keys, DSL methods, the JSON Schema and the reference page are
 * derived from it.
 *
 * @module
 */

import type { z } from "../deps/zod.ts";
import { ConfigError, invariant } from "../graph/mod.ts";
import { buildModel } from "./lifecycle/build_model.ts";
import { cleanupInputConstraints } from "./cleanup/cleanup_input_constraints.ts";
import { cleanupNoopAdd } from "./cleanup/cleanup_noop_add.ts";
import { cleanupNoopSlice } from "./cleanup/cleanup_noop_slice.ts";
import { compileModel } from "./lifecycle/compile_model.ts";
import { type AnyTransform, configSchema } from "./core/config.ts";
import { exportToGm } from "./lifecycle/export_to_gm.ts";
import { fuseAddRmsNorm } from "./fuse/fuse_add_rms_norm.ts";
import { fuseFp8Moe } from "./fuse/fuse_fp8_moe.ts";
import { fuseGemms } from "./fuse/fuse_gemms.ts";
import { fuseMoe } from "./fuse/fuse_moe.ts";
import { fusePackedMoes } from "./fuse/fuse_packed_moes.ts";
import { fusePostNorm } from "./fuse/fuse_post_norm.ts";
import { fuseResidual } from "./fuse/fuse_residual.ts";
import { fuseRmsnorm } from "./fuse/fuse_rmsnorm.ts";
import { fuseSharedExperts } from "./fuse/fuse_shared_experts.ts";
import { fuseSwiglu } from "./fuse/fuse_swiglu.ts";
import { gatherLogitsBeforeLmHead } from "./fuse/gather_logits_before_lm_head.ts";
import { initializeCache } from "./cache/initialize_cache.ts";
import { insertCachedAttention } from "./cache/insert_cached_attention.ts";
import { insertCachedMlaAttention } from "./cache/insert_cached_mla_attention.ts";
import { loadWeights } from "./lifecycle/load_weights.ts";
import { matchBmmMoePattern } from "./match/match_bmm_moe_pattern.ts";
import { matchDenseMoePattern } from "./match/match_dense_moe_pattern.ts";
import { matchEagerAttention } from "./match/match_eager_attention.ts";
import { matchGroupedAttention } from "./match/match_grouped_attention.ts";
import { matchL2normPattern } from "./match/match_l2norm_pattern.ts";
import { matchLayernormPattern } from "./match/match_layernorm_pattern.ts";
import { matchMoePattern } from "./match/match_moe_pattern.ts";
import { matchRepeatKv } from "./match/match_repeat_kv.ts";
import { matchRmsnormPattern } from "./match/match_rmsnorm_pattern.ts";
import { matchRopePattern } from "./match/match_rope_pattern.ts";
import { matchRouterPattern } from "./match/match_router_pattern.ts";
import { matchSwigluPattern } from "./match/match_swiglu_pattern.ts";
import { moveInputsToDevice } from "./lifecycle/move_inputs_to_device.ts";
import { quantizeCheckpointFormats } from "./quantize/quantize_checkpoint_formats.ts";
import { quantizeLinear } from "./quantize/quantize_linear.ts";
import { quantizeMoe } from "./quantize/quantize_moe.ts";
import { scaleKvCache } from "./cache/scale_kv_cache.ts";
import { resizeKvCache } from "./cache/resize_kv_cache.ts";
import { detectSharding, shardingTransformExecutor } from "./lifecycle/sharding.ts";
import { STAGES } from "./core/stage.ts";
import type { TransformDefinition } from "./core/transform.ts";
import type { BaseConfig } from "./fields.ts";
import { notApplicable } from "./core/not_applicable.ts";
import { visualizeNamespace } from "./lifecycle/visualize_namespace.ts";

/** In the order of `configs/default.yaml`. */
const LIST = [
  buildModel,
  exportToGm,
  cleanupNoopSlice,
  cleanupNoopAdd,
  cleanupInputConstraints,
  matchMoePattern,
  matchDenseMoePattern,
  matchBmmMoePattern,
  matchRouterPattern,
  matchRepeatKv,
  matchEagerAttention,
  matchGroupedAttention,
  matchRopePattern,
  matchRmsnormPattern,
  matchLayernormPattern,
  matchL2normPattern,
  fuseSharedExperts,
  ...quantizeCheckpointFormats,
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
  ...fusePackedMoes,
  gatherLogitsBeforeLmHead,
  fuseRmsnorm,
  fusePostNorm,
  fuseResidual,
  fuseAddRmsNorm,
  fuseSwiglu,
  visualizeNamespace,
  insertCachedMlaAttention,
  insertCachedAttention,
  scaleKvCache,
  initializeCache,
  resizeKvCache,
  compileModel,
] as const;

/** Keys and definitions of the list, as types. */
type Listed = (typeof LIST)[number];

/** The registered transform of a key. */
type TransformOf<Key extends Listed["key"]> = Extract<Listed, { key: Key }>;

/** Fields of a transform as its schema takes them: what `fields.ts` writes out. */
export type InferredFields<Key extends Listed["key"]> = DefinitionFields<
  TransformOf<Key>["config"]["shape"]
>;

/** The same for a definition that is not registered, from the shape of its own fields. */
export type DefinitionFields<Own extends z.ZodRawShape> =
  & OwnFields<z.input<z.ZodObject<Own>>>
  & Partial<BaseConfig>;

/** `z.object({})` infers a record of `never`, which would refuse the fields of every transform. */
export type OwnFields<Input> = string extends keyof Input ? unknown : Input;

/** Every transform by key, in the order of `configs/default.yaml`. */
export const TRANSFORMS = byKey(LIST) as {
  readonly [Key in Listed["key"]]: TransformOf<Key>;
};

/** Transforms of plug-ins, in the order of their registration. */
const ADDED = new Map<string, AnyTransform>();

/** Who wants to know of every transform. */
const WATCHERS: ((definition: AnyTransform) => void)[] = [];

/** The transform of a key, or undefined. */
export function findTransform(key: string): AnyTransform | undefined {
  const table: Readonly<Record<string, AnyTransform>> = TRANSFORMS;
  return Object.hasOwn(table, key) ? table[key] : ADDED.get(key);
}

/** Every transform, those of plug-ins last. */
export function allTransforms(): readonly AnyTransform[] {
  return [...Object.values<AnyTransform>(TRANSFORMS), ...ADDED.values()];
}

/** All keys, in the same order. */
export function transformKeys(): readonly string[] {
  return allTransforms().map(({ key }) => key);
}

/** Calls `watcher` for every transform, and for those that come later; what it throws refuses one. */
export function watchTransforms(watcher: (definition: AnyTransform) => void): void {
  allTransforms().forEach(watcher);
  WATCHERS.push(watcher);
}

/**
 * Adds a transform: its key becomes one of YAML, its camelCase form a method of pipelines. The same
 * definition may be added again.
 *
 * @throws {ConfigError} for a key that is taken or no name, and for parts that are missing.
 */
export function registerTransform<const Key extends string, Own extends z.ZodRawShape, Match>(
  definition: TransformDefinition<Key, Own, Match>,
): void {
  const added = definition as AnyTransform;
  if (ADDED.get(added.key) === added) return;
  const problem = definitionProblem(added);
  if (problem !== undefined) {
    throw new ConfigError(
      "config/transform",
      `Cannot register transform "${added.key}": ${problem}`,
      { hint: "Make it with defineTransform()", details: { transform: added.key } },
    );
  }
  for (const watcher of WATCHERS) watcher(added);
  ADDED.set(added.key, added);
}

/** What a definition lacks, as the end of a sentence. */
function definitionProblem(definition: AnyTransform): string | undefined {
  const { key, stage, config } = definition;
  if (!/^[a-z][a-z0-9_]*$/.test(key)) return "expected a key in snake_case, got another";
  if (findTransform(key) || notApplicable(key)) return "expected a new key, got one that is taken";
  if (!STAGES.includes(stage)) return `expected a stage of ${STAGES.join(", ")}, got "${stage}"`;
  for (const method of ["plan", "apply"] as const) {
    if (typeof definition[method] !== "function") return `expected a method ${method}(), got none`;
  }
  if (typeof config?.shape !== "object") {
    return "expected config to be a z.object, got another value";
  }
  const shape: Readonly<Record<string, z.ZodType>> = configSchema(definition).shape;
  const bare = Object.keys(config.shape).find((name) => !shape[name].safeParse(undefined).success);
  return bare === undefined ? undefined : `expected a default for field "${bare}", got none`;
}

/** A table of definitions by key; a key that appears twice is a mistake in the list. */
export function byKey(list: readonly AnyTransform[]): Readonly<Record<string, AnyTransform>> {
  const table: Record<string, AnyTransform> = {};
  for (const definition of list) {
    invariant(!(definition.key in table), `transform "${definition.key}" is registered twice`);
    table[definition.key] = definition;
  }
  return table;
}
