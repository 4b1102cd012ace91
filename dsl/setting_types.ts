/**
 * Settings of pipelines. Written by `deno task gen` from the schemas.
 *
 * @module
 */

import type { FieldsByTransform } from "../transforms/mod.ts";

/** Values of all settings. */
export type Settings = {
  /** Model folder, from the current folder on, or name on the Hugging Face hub. */
  readonly model: string | null;
  /**
   * Modules with transforms, MoE backends, architectures and samplers of your own, relative to the
   * file.
   */
  readonly plugins: readonly string[];
  /** Where the model runs; auto is WebGPU where there is a GPU, else the CPU. */
  readonly executor: "auto" | "webgpu" | "cpu";
  /**
   * Whose WebGPU runs it: Deno's own, or Dawn's from npm, which has tensor cores and needs
   * --allow-ffi.
   */
  readonly webgpu: "native" | "dawn";
  /**
   * Type of the operands of products of many tokens on WebGPU, for experts of every format, dense
   * layers and attention; auto is f16 where that means tensor cores; the default of the fields
   * operands of transforms.
   */
  readonly operands: "f32" | "f16" | "auto";
  /**
   * Tokens of the longest sequence, prompt and answer; null is what the model allows, at most 4096.
   */
  readonly maxSeqLen: number | null;
  /**
   * Sequences that run at the same time, as long as there are pages for them; unless it is set,
   * fewer on devices with memory for few pages.
   */
  readonly maxBatchSize: number;
  /** Tokens of the largest step, longer prompts take several; null is max_seq_len, at most 2048. */
  readonly maxNumTokens: number | null;
  /** Most requests that may wait; further ones are refused. */
  readonly maxQueueSize: number;
  /** Share the cache pages of prompts that begin with the same tokens. */
  readonly prefixReuse: boolean;
};

/** What `pipeline().settings({ .. })` takes. */
export interface SettingsInput {
  /** Model folder, from the current folder on, or name on the Hugging Face hub. */
  readonly model?: string | null | undefined;
  /**
   * Modules with transforms, MoE backends, architectures and samplers of your own, relative to the
   * file; default [].
   */
  readonly plugins?: readonly string[] | undefined;
  /** Where the model runs; auto is WebGPU where there is a GPU, else the CPU; default "auto". */
  readonly executor?: "auto" | "webgpu" | "cpu" | undefined;
  /**
   * Whose WebGPU runs it: Deno's own, or Dawn's from npm, which has tensor cores and needs
   * --allow-ffi; default "native".
   */
  readonly webgpu?: "native" | "dawn" | undefined;
  /**
   * Type of the operands of products of many tokens on WebGPU, for experts of every format, dense
   * layers and attention; auto is f16 where that means tensor cores; the default of the fields
   * operands of transforms; default "f32".
   */
  readonly operands?: "f32" | "f16" | "auto" | undefined;
  /**
   * Tokens of the longest sequence, prompt and answer; null is what the model allows, at most 4096.
   */
  readonly maxSeqLen?: number | null | undefined;
  /**
   * Sequences that run at the same time, as long as there are pages for them; unless it is set,
   * fewer on devices with memory for few pages; default 64.
   */
  readonly maxBatchSize?: number | undefined;
  /** Tokens of the largest step, longer prompts take several; null is max_seq_len, at most 2048. */
  readonly maxNumTokens?: number | null | undefined;
  /** Most requests that may wait; further ones are refused; default 1024. */
  readonly maxQueueSize?: number | undefined;
  /** Share the cache pages of prompts that begin with the same tokens; default true. */
  readonly prefixReuse?: boolean | undefined;
  /** Stands for `backend` of `insert_cached_attention`. */
  readonly attnBackend?: FieldsByTransform["insert_cached_attention"]["backend"];
  /** Stands for `cache_dtype` of `insert_cached_attention`. */
  readonly kvCacheDtype?: FieldsByTransform["insert_cached_attention"]["cache_dtype"];
  /** Stands for `page_size` of `initialize_cache`. */
  readonly attnPageSize?: FieldsByTransform["initialize_cache"]["page_size"];
  /** Stands for `free_mem_ratio` of `resize_kv_cache`. */
  readonly freeMemRatio?: FieldsByTransform["resize_kv_cache"]["free_mem_ratio"];
  /** Stands for `backend` of `compile_model`. */
  readonly compileBackend?: FieldsByTransform["compile_model"]["backend"];
  /** Stands for `cuda_graph_batch_sizes` of `compile_model`. */
  readonly cudaGraphBatchSizes?: FieldsByTransform["compile_model"]["cuda_graph_batch_sizes"];
}
