/**
 * Transforms: what turns an eager graph into fused ops, and the optimizer that runs them.
 *
 * @module
 */

export { type CacheNotes, cacheNotes, missingCaches } from "./cache_meta.ts";
export * from "./config.ts";
export * from "./not_applicable.ts";
export * from "./optimizer.ts";
export * from "./order.ts";
export * from "./record.ts";
export * from "./registry.ts";
export * from "./transform.ts";
