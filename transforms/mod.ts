/**
 * Transforms: what turns an eager graph into fused ops, and the optimizer that runs them.
 *
 * @module
 */

export { type CacheNotes, cacheNotes, missingCaches } from "./cache/cache_meta.ts";
export { whyWithoutEffect } from "./core/accepted.ts";
export * from "./core/config.ts";
export * from "./core/not_applicable.ts";
export type * from "./fields.ts";
export * from "./optimizer.ts";
export * from "./order.ts";
export * from "./core/record.ts";
export * from "./registry.ts";
export * from "./core/sampler.ts";
export { settingBehind } from "./core/setting_default.ts";
export * from "./core/stage.ts";
export * from "./core/transform.ts";
export { type WantedReport, wantedReport } from "./lifecycle/visualize_namespace.ts";
