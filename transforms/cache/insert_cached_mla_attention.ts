/**
 * `insert_cached_mla_attention`: multi-head latent attention over a paged cache of latents. A token
 * takes `latentDim + ropeDim` numbers in the cache whatever the number of heads; decoding takes the
 * queries to the latents instead of making keys of them (the absorbed form).
 *
 * Before:
 * ```text
 * %1 = fused_linear(x: slice(kv, 0..L), w: @kv_b, norm_weight: @kv_a_norm)    [T, heads · (N + V)]
 * %2 = concat(xs: [keys of %1, expand(rope(unsqueeze(slice(kv, L..))))])      [heads, T, N + R]
 * %3 = concat(xs: [first part of q, rope(second part of q)])                 [heads, T, N + R]
 * %4 = attention(q: %3, k: %2, v: values of %1, positions: positions) {scale: ..}
 * ```
 * After:
 * ```text
 * %1 = cached_mla_attention(q: q, kv: kv, kv_norm: @kv_a_norm, w: @kv_b, positions: positions,
 *      sequence_ids: .., block_table: .., inv_freq: ..) {heads: .., latentDim: L, ropeDim: R, ..}
 * ```
 * Where queries are made of latents too, `fused_linear(x: q_latents, w: @q_b, norm_weight: @q_a_norm)`
 * goes into the op as `q: q_latents, q_w: @q_b, q_norm: @q_a_norm`. Values that are columns of a wider
 * one (`fuse_gemms` joins the first projections) are read where they lie: `qFirst`, `kvFirst`.
 *
 * A latent and its turning key must be a multiple of 8 numbers together, the word of the kernels; with others,
 * `insert_cached_attention` keeps keys and values of every head.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { findMatches, type Graph, GraphBuilder, input, replaceNode } from "../../graph/mod.ts";
import { accepted } from "../core/accepted.ts";
import { defineTransform } from "../core/transform.ts";
import { CACHE_DTYPES, setCacheNotes } from "./cache_meta.ts";
import { flatResult } from "./flat_result.ts";
import { type Latent, matchLatent } from "./mla_pattern.ts";

/** AutoDeploy's names, which choose among CUDA kernels. */
const BACKENDS = [
  ...["auto", "flashinfer_mla", "flashinfer_trtllm_mla", "torch_mla", "triton_mla"] as const,
  ...["trtllm_mla"] as const,
] as const;

/** See the module's documentation. */
export const insertCachedMlaAttention = defineTransform({
  key: "insert_cached_mla_attention",
  stage: "cache_init",
  summary: "Replace latent attention by attention over a paged cache of latents",
  base: { before: ["insert_cached_attention", "initialize_cache"] },
  config: z.object({
    backend: z.enum(BACKENDS).default("auto").describe(
      accepted("WebGPU has one attention over latents"),
    ),
    cache_dtype: z.enum(["auto", "f16", "f32", "fp8"]).default("auto").describe(
      "Element type of latents in the cache; auto is that of insert_cached_attention, or f16",
    ),
    expand_from: z.union([z.enum(["auto", "never"]), z.int().positive()]).default("auto").describe(
      "Tokens of a sequence in a step from which WebGPU makes keys and values of its latents (expanded form) instead of taking its queries to them; auto: where that is less arithmetic",
    ),
  }),
  plan(graph, config) {
    const found = findMatches(graph, "attention", matchLatent);
    const notes = config.backend === "auto" ? [] : [
      `backend "${config.backend}" names a CUDA kernel: WebGPU has one attention of its own`,
    ];
    return { ...found, notes };
  },
  apply(graph, plan, config) {
    if (plan.matches.length > 0 && config.cache_dtype !== "auto") {
      setCacheNotes(graph, { latentDtype: CACHE_DTYPES[config.cache_dtype] });
    }
    for (const match of plan.matches) insert(graph, match, config.expand_from);
  },
});

function insert(graph: Graph, match: Latent, expandFrom: number | "auto" | "never"): void {
  const { attention, sizes } = match;
  const { node: last, flat } = flatResult(graph, attention);
  const b = new GraphBuilder(graph, { scope: attention.scope, before: graph.current(last) });
  const result = b.op("cached_mla_attention", {
    q: match.q.value,
    q_norm: match.q.made?.norm,
    q_w: match.q.made?.weight,
    kv: match.kv.value,
    kv_norm: match.kvNorm,
    w: graph.createWeight(match.upName, match.up),
    positions: input(attention, "positions"),
    sequence_ids: graph.addInput("sequence_ids", { dtype: "i32", shape: ["T"] }),
    block_table: graph.addInput("block_table", { dtype: "i32", shape: ["S", "P"] }),
    inv_freq: match.inverseFrequencies,
  }, {
    ...sizes,
    scale: attention.attrs.scale,
    cache: attention.scope,
    rope: match.rope,
    eps: match.eps,
    ...(match.q.made && { qEps: match.q.made.eps }),
    ...(match.q.first > 0 && { qFirst: match.q.first }),
    ...(match.kv.first > 0 && { kvFirst: match.kv.first }),
    ...(expandFrom !== "auto" && { expandFrom }),
  });
  if (flat) return replaceNode(graph, last, result);
  const byToken = b.op("reshape", { x: result }, {
    shape: [result.shape[0], sizes.heads, sizes.valueDim],
  });
  replaceNode(graph, last, b.op("transpose", { x: byToken }, { dims: [0, 1] }));
}
