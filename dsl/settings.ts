/**
 * Top-level settings of a pipeline: their names and types, and the short names of fields of
 * transforms.
 *
 * @module
 */

import { z } from "../deps/zod.ts";
import { MOE_OPERANDS } from "../graph/mod.ts";
import type { TransformKey } from "../transforms/mod.ts";
import { type CamelCase, camelCase } from "./names.ts";

/** Every setting, with AutoDeploy's name where it has one. */
export const settingsSchema = z.object({
  model: z.string().min(1).nullable().default(null).describe(
    "Model folder, from the current folder on, or name on the Hugging Face hub",
  ),
  plugins: z.array(z.string().min(1)).default([]).describe(
    "Modules with transforms, MoE backends, architectures and samplers of your own, relative to the file",
  ),
  executor: z.enum(["auto", "webgpu", "cpu"]).default("auto").describe(
    "Where the model runs; auto is WebGPU where there is a GPU, else the CPU",
  ),
  webgpu: z.enum(["native", "dawn"]).default("native").describe(
    "Whose WebGPU runs it: Deno's own, or Dawn's from npm, which has tensor cores and needs --allow-ffi",
  ),
  operands: z.enum(MOE_OPERANDS).default("f32").describe(
    "Type of the operands of products of many tokens on WebGPU, for experts of every format, dense layers and attention; auto is f16 where that means tensor cores; the default of the fields operands of transforms",
  ),
  // One token of a prompt and one of an answer.
  max_seq_len: z.int().min(2).nullable().default(null).describe(
    "Tokens of the longest sequence, prompt and answer; null is what the model allows, at most 4096",
  ),
  max_batch_size: z.int().min(1).default(64).describe(
    "Sequences that run at the same time, as long as there are pages for them; unless it is set, fewer on devices with memory for few pages",
  ),
  max_num_tokens: z.int().min(1).nullable().default(null).describe(
    "Tokens of the largest step, longer prompts take several; null is max_seq_len, at most 2048",
  ),
  max_queue_size: z.int().min(1).default(1024).describe(
    "Most requests that may wait; further ones are refused",
  ),
  prefix_reuse: z.boolean().default(true).describe(
    "Share the cache pages of prompts that begin with the same tokens",
  ),
});

/** Name of a setting. */
export type SettingName = keyof z.output<typeof settingsSchema>;

/** Names of all settings. */
export const SETTING_NAMES = Object.keys(settingsSchema.shape) as readonly SettingName[];

/** Names at the top level that stand for a field of a transform, most of them AutoDeploy's. */
export const SHORTCUTS = {
  attn_backend: ["insert_cached_attention", "backend"],
  kv_cache_dtype: ["insert_cached_attention", "cache_dtype"],
  attn_page_size: ["initialize_cache", "page_size"],
  free_mem_ratio: ["resize_kv_cache", "free_mem_ratio"],
  compile_backend: ["compile_model", "backend"],
  cuda_graph_batch_sizes: ["compile_model", "cuda_graph_batch_sizes"],
} as const satisfies Readonly<Record<string, readonly [TransformKey, string]>>;

type Shortcuts = typeof SHORTCUTS;

/** The field of a transform that a short name stands for. */
export function shortcutTarget(name: string): readonly [string, string] | undefined {
  return Object.hasOwn(SHORTCUTS, name) ? SHORTCUTS[name as keyof Shortcuts] : undefined;
}

/** Settings and short names. */
export function topLevelNames(): string[] {
  return [...SETTING_NAMES, ...Object.keys(SHORTCUTS)];
}

/** The YAML name of a camelCase setting or short name, or undefined. */
export function settingOfMethod(name: string): string | undefined {
  return topLevelNames().find((each) => (camelCase(each) as CamelCase<string>) === name);
}
