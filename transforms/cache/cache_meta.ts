/**
 * Notes about the cache in the graph's metadata, by which its transforms inform each other and the
 * runtime.
 *
 * @module
 */

import { type CacheDtype, cacheOf, type Graph, type Node } from "../../graph/mod.ts";

/** Key of the notes about the cache. */
export const CACHE_META = "cache";

/** Element types by their names in configurations. */
export const CACHE_DTYPES = { auto: "f16", f16: "f16", f32: "f32", fp8: "f8_e4m3" } as const;

/** Notes about the cache; every field is written by the transform in its comment. */
export interface CacheNotes {
  /** `insert_cached_attention`. */
  readonly dtype?: CacheDtype;
  /** `insert_cached_mla_attention`, where it is not that of the other caches. */
  readonly latentDtype?: CacheDtype;
  /** `initialize_cache`: tokens of a page. */
  readonly pageSize?: number;
  /** `resize_kv_cache`: fraction of the free memory that pages may take. */
  readonly freeMemRatio?: number;
}

/** The notes so far. */
export function cacheNotes(graph: Graph): CacheNotes {
  return (graph.meta[CACHE_META] ?? {}) as CacheNotes;
}

/** Adds to the notes. */
export function setCacheNotes(graph: Graph, notes: CacheNotes): void {
  graph.setMeta(CACHE_META, { ...cacheNotes(graph), ...notes });
}

/** Attention nodes whose cache is not declared; with any of them the graph cannot run yet. */
export function missingCaches(graph: Graph): Node[] {
  const names = new Set(graph.caches.map((cache) => cache.name));
  return graph.nodes.filter((node) => {
    const wanted = cacheOf(node);
    return wanted !== undefined && !names.has(wanted.name);
  });
}
