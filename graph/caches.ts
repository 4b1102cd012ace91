/**
 * Which cache a node reads and writes, and what one token takes in it. An op that keeps something
 * between steps has one entry here; declaring caches, checking them and counting their bytes derive
 * from it.
 *
 * @module
 */

import { type CacheSpec, isOp, type Node } from "./graph.ts";

/** The sizes of a cache as a node wants them. */
export type WantedCache = Pick<CacheSpec, "name" | "kvHeads" | "headDim" | "valueDim" | "window">;

/** The cache of a node; undefined when it keeps nothing for each token between steps. */
export function cacheOf(node: Node): WantedCache | undefined {
  if (isOp(node, "cached_attention")) {
    const { cache: name, kvHeads, headDim, valueDim, window, chunk } = node.attrs;
    const sight = window ?? chunk;
    return {
      ...{ name, kvHeads, headDim },
      ...(valueDim !== undefined && { valueDim }),
      ...(sight !== undefined && { window: Math.min(sight, chunk ?? sight) }),
    };
  }
  if (isOp(node, "cached_mla_attention")) {
    const { cache: name, latentDim, ropeDim } = node.attrs;
    return { name, kvHeads: 1, headDim: latentDim + ropeDim, valueDim: 0 };
  }
}
