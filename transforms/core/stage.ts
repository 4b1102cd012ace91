/**
 * The stages of a pipeline.
 *
 * @module
 */

/** Stages in execution order. */
export const STAGES = [
  "factory",
  "export",
  "post_export",
  "pattern_matcher",
  "sharding",
  "weight_load",
  "post_load_fusion",
  "visualize",
  "cache_init",
  "compile",
] as const;

/** A stage of the pipeline. */
export type Stage = (typeof STAGES)[number];
