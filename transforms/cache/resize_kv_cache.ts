/**
 * `resize_kv_cache`: the fraction of the memory that is free once weights and activations are
 * allocated which the runtime may use for pages of the cache. WebGPU does not say how much that is: the
 * fraction is kept for AutoDeploy, and a deployment reports that it has no effect.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { setCacheNotes } from "./cache_meta.ts";
import { defineTransform } from "../core/transform.ts";

/** See the module's documentation. */
export const resizeKvCache = defineTransform({
  key: "resize_kv_cache",
  stage: "cache_init",
  summary: "Set how much free memory the cache may take",
  base: { after: ["initialize_cache"], run_per_gm: false, expect_mem_change: true },
  config: z.object({
    free_mem_ratio: z.number().min(0).max(1).default(0).describe(
      "Fraction of the free memory for pages, as in AutoDeploy; kept, and reported to have no effect",
    ),
  }),
  plan: (graph) => ({ matches: graph.caches.length > 0 ? [graph.caches.length] : [] }),
  apply(graph, _plan, config) {
    setCacheNotes(graph, { freeMemRatio: config.free_mem_ratio });
  },
});
