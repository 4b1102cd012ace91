/**
 * A pipeline as AutoDeploy's configuration: what carries over, and what does not and why.
 *
 * @module
 */

import { notApplicable } from "../../transforms/mod.ts";
import type { Plain } from "../overlay.ts";
import type { ResolvedPipeline, ResolvedValue } from "../resolve.ts";
import {
  UPSTREAM_CACHE_FIELDS,
  UPSTREAM_SETTINGS,
  UPSTREAM_TRANSFORMS,
  upstreamTakes,
} from "./autodeploy_facts.ts";

/** A value that stays behind. */
export interface LeftBehind {
  /** `transforms.fuse_moe.overrides`, `plugins`. */
  readonly path: string;
  readonly value: Plain;
  /** One sentence without a full stop. */
  readonly reason: string;
}

/** What AutoDeploy reads, and what it cannot be told. */
export interface TrtllmConfig {
  /** Keys and values of its YAML. */
  readonly document: Readonly<Record<string, unknown>>;
  readonly leftBehind: readonly LeftBehind[];
}

/** What becomes of one value. */
type Carried =
  | { readonly kind: "field"; readonly key: string; readonly field: string; readonly value: Plain }
  | { readonly kind: "setting"; readonly name: string; readonly value: Plain }
  | { readonly kind: "cache"; readonly field: string; readonly value: Plain }
  | { readonly kind: "left"; readonly reason: string }
  | { readonly kind: "implied" };

const left = (reason: string): Carried => ({ kind: "left", reason });
const IMPLIED: Carried = { kind: "implied" };

const GATED_TRITON =
  "its triton backend stops at experts with a gate, so its default, trtllm, is taken";

/**
 * The configuration of a pipeline for `worldSize` GPUs. Values that nobody set are left to AutoDeploy's
 * own defaults.
 */
export function trtllmConfig(resolved: ResolvedPipeline, worldSize: number): TrtllmConfig {
  const settings: Record<string, unknown> = { runtime: "trtllm", world_size: worldSize };
  const cache: Record<string, unknown> = {};
  const transforms: Record<string, Record<string, unknown>> = {};
  const leftBehind: LeftBehind[] = [];
  for (const each of resolved.values.filter(isChosen)) {
    const carried = carry(each, worldSize);
    if (carried.kind === "setting") settings[carried.name] = carried.value;
    if (carried.kind === "cache") cache[carried.field] = carried.value;
    if (carried.kind === "field") {
      const { key, field, value } = carried;
      transforms[key] = { ...startOf(key), ...transforms[key], [field]: value };
    }
    if (carried.kind === "left") {
      const { path, written, value } = each;
      leftBehind.push({ path, value: written ?? value, reason: carried.reason });
    }
  }
  const given = settings.kv_cache_config;
  const joined = { ...(typeof given === "object" ? given : {}), ...cache };
  return {
    document: {
      ...settings,
      ...(Object.keys(joined).length > 0 && { kv_cache_config: joined }),
      ...(Object.keys(transforms).length > 0 && { transforms }),
    },
    leftBehind,
  };
}

/** Values that a file, a flag, a variable or code chose, and the model. A setting counts once, by its name. */
function isChosen({ origin, setting }: ResolvedValue): boolean {
  return setting === undefined && origin.layer !== "definition" && origin.layer !== "default";
}

/** A transform that the default pipeline does not name needs its stage. */
function startOf(key: string): Record<string, unknown> {
  const { listed, stage } = UPSTREAM_TRANSFORMS[key];
  return listed === false ? { stage } : {};
}

function carry(each: ResolvedValue, worldSize: number): Carried {
  const { path, name, transform, written, value } = each;
  if (transform !== undefined) return carryField(transform, name, written ?? value);
  switch (name) {
    case "model":
      return IMPLIED;
    case "world_size":
      return value === worldSize ? IMPLIED : left("--world-size says how many GPUs there are");
    case "prefix_reuse":
      return { kind: "cache", field: "enable_block_reuse", value };
    case "executor":
    case "webgpu":
    case "operands":
      return left("it runs on CUDA");
    case "plugins":
      return left("plug-ins are modules of this program");
    case "max_queue_size":
      return left("its server has no such limit");
    case "kv_cache_config":
      return carryCache(value);
  }
  if (UPSTREAM_SETTINGS.includes(path)) return { kind: "setting", name: path, value };
  return left("its configuration has no such name, or does not let it be set");
}

function carryCache(value: Plain): Carried {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return left("its kv_cache_config is a mapping");
  }
  const unknown = Object.keys(value).filter((field) => !UPSTREAM_CACHE_FIELDS.includes(field));
  if (unknown.length > 0) return left(`its kv_cache_config has no ${unknown.join(", ")}`);
  return { kind: "setting", name: "kv_cache_config", value };
}

function carryField(key: string, field: string, value: Plain): Carried {
  const place = `${key}.${field}`;
  switch (place) {
    case "insert_cached_attention.cache_dtype":
      // "fp8" and "auto" are the types that its caches have.
      return value === "fp8"
        ? { kind: "cache", field: "dtype", value: "fp8" }
        : left("its caches have the model's type, or fp8");
    case "initialize_cache.page_size":
      return { kind: "cache", field: "tokens_per_block", value };
    case "resize_kv_cache.free_mem_ratio":
      return { kind: "cache", field: "free_gpu_memory_fraction", value };
    case "fuse_moe.backend":
      if (value === "triton") return left(GATED_TRITON);
  }
  if (!Object.hasOwn(UPSTREAM_TRANSFORMS, key)) {
    const known = notApplicable(key) !== undefined;
    return left(known ? "that version of AutoDeploy has no such transform" : "AutoDeploy has none");
  }
  const takes = upstreamTakes(key, field, value);
  if (takes === true) return { kind: "field", key, field, value };
  return left(
    takes === undefined
      ? "the transform has no such field there"
      : "the field does not take this value there",
  );
}
