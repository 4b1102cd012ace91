/**
 * `initialize_cache`: gives every op that keeps keys and values its cache.
 *
 * Before:
 * ```text
 * %1 = cached_attention(..) {heads: 4, kvHeads: 2, headDim: 16, cache: model.layers.0.self_attn, ..}
 * ```
 * After, besides:
 * ```text
 * cache {"name":"model.layers.0.self_attn","kvHeads":2,"headDim":16,"dtype":"f16","pageSize":16}
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { cacheOf } from "../../graph/mod.ts";
import { cacheNotes, setCacheNotes } from "./cache_meta.ts";
import { defineTransform } from "../core/transform.ts";

/** See the module's documentation. */
export const initializeCache = defineTransform({
  key: "initialize_cache",
  stage: "cache_init",
  summary: "Declare the paged cache of every attention layer",
  base: {
    after: ["insert_cached_attention", "insert_cached_mla_attention"],
    run_per_gm: false,
    expect_mem_change: true,
  },
  config: z.object({
    page_size: z.int().min(1).max(1024).default(16).describe("Tokens per page of the cache"),
  }),
  plan: (graph) => ({ matches: graph.nodes.flatMap((node) => cacheOf(node) ?? []) }),
  apply(graph, plan, config) {
    const { dtype = "f16", latentDtype = dtype } = cacheNotes(graph);
    setCacheNotes(graph, { dtype, pageSize: config.page_size });
    for (const { window, ...wanted } of plan.matches) {
      // Latents are keys and values at once: there are no values beside them.
      const own = wanted.valueDim === 0 ? latentDtype : dtype;
      graph.addCache({
        ...wanted,
        dtype: own,
        pageSize: config.page_size,
        ...(window !== undefined && { window }),
      });
    }
  },
});
