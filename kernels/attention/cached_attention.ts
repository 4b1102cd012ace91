/**
 * `cached_attention`: few tokens, and sequences with a token each, in one dispatch; many in two or
 * three, which bring them into the cache, attend in tiles of queries, and attend to sequences with
 * single tokens one by one.
 *
 * @module
 */

import { constants, reads, writes } from "../access/access.ts";
import { composeDispatch } from "../dispatch.ts";
import { defineKernel, type Dispatch, foldGrid } from "../kernel.ts";
import { scratchRows } from "../linear/linear.ts";
import appendBody from "./append.wgsl" with { type: "text" };
import { decodeDispatches } from "./decode.ts";
import { headTooLarge } from "./decode_workgroup.ts";
import {
  type AttentionProblem,
  cacheAccess,
  pagingAccess,
  problemOf,
  sinkAccess,
  sizeConstants,
  sourceAccess,
} from "./operands.ts";
import { matrixPrefill } from "./prefill_matrices.ts";
import prefillBody from "./prefill.wgsl" with { type: "text" };

/** Tokens of a step up to which each attends by itself, whether or not sequences have several. */
export const DECODE_MAX_TOKENS = 8;
/** Sizes of `attention_prefill`. */
const TILE_QUERIES = 64;
const TILE_KEYS = 32;
const PREFILL_INVOCATIONS = 128;
/** Results of 64 dimensions that an invocation's registers hold; wider heads take several workgroups. */
const MAX_SLICES = 4;
/** Workgroup memory that tiles of 32 dimensions take. */
const DEEP_TILE_BYTES = 23 << 10;
const APPEND_INVOCATIONS = 128;

/** Brings the step's tokens into the cache and its queries into scratch. */
function appendDispatch(
  problem: AttentionProblem,
  ready: ReturnType<typeof scratchRows>,
): Dispatch {
  const { profile } = problem.context;
  return composeDispatch({
    kernel: "attention_append",
    accesses: [
      pagingAccess(problem),
      sourceAccess(problem),
      cacheAccess(problem, "read_write"),
      constants({ ...sizeConstants(problem), INVOCATIONS: APPEND_INVOCATIONS }),
      writes("ready", "f32", ready),
    ],
    body: appendBody,
    workgroups: ({ T }) => foldGrid(T, profile.maxWorkgroupsPerDimension),
  });
}

function prefillDispatch(
  problem: AttentionProblem,
  ready: ReturnType<typeof scratchRows>,
): Dispatch {
  const { node, attrs, context: { profile } } = problem;
  const all = Math.ceil(attrs.headDim / 64);
  const parts = Math.ceil(all / MAX_SLICES);
  const slices = Math.ceil(all / parts);
  // A CPU takes seconds to compile what is written out for a GPU; small devices lack the memory.
  const depth = profile.software || profile.maxWorkgroupStorageBytes < DEEP_TILE_BYTES ? 8 : 32;
  return composeDispatch({
    kernel: "attention_prefill",
    accesses: [
      pagingAccess(problem),
      cacheAccess(problem, "read"),
      sinkAccess(problem),
      constants({
        ...sizeConstants(problem),
        DEPTH: depth,
        LOADS_Q: Math.ceil((TILE_QUERIES * depth) / 8 / PREFILL_INVOCATIONS),
        LOADS_K: Math.ceil((TILE_KEYS * depth) / 8 / PREFILL_INVOCATIONS),
        DEPTHS: Math.ceil(attrs.headDim / depth),
        QUERIES: TILE_QUERIES,
        KEYS: TILE_KEYS,
        INVOCATIONS: PREFILL_INVOCATIONS,
        SLICES: slices,
        CHUNKS: attrs.headDim / 8,
      }),
      reads("ready", "vec4<f32>", ready),
      writes("y", "vec4<f32>", node.outputs[0]),
    ],
    body: prefillBody,
    workgroups: ({ T }) => [Math.ceil(T / TILE_QUERIES), attrs.heads, parts],
  });
}

/** `cached_attention` over caches of every type. */
export const cachedAttention = defineKernel({
  name: "cached_attention",
  op: "cached_attention",
  summary:
    "up to 8 tokens, or any number of sequences with one each, in one dispatch that splits their contexts; more in tiles of queries, after the step's tokens have joined the cache",
  refuse(node, context) {
    const { headDim, valueDim = headDim, chunk } = node.attrs;
    if (valueDim !== headDim) return `takes values as wide as keys, not ${valueDim} of ${headDim}`;
    if (chunk !== undefined) return "takes no chunks";
    if (headDim % 8 !== 0 || headDim > 512) return `takes heads of 8 to 512 by 8, not ${headDim}`;
    const problem = problemOf(node, { ...context, tokens: { min: 1, max: DECODE_MAX_TOKENS } });
    return headTooLarge(problem) ? "needs more workgroup memory" : undefined;
  },
  lower(node, context) {
    const problem = problemOf(node, context);
    const { tokens, note } = context;
    const { heads, headDim } = node.attrs;
    if (tokens.single || tokens.max <= DECODE_MAX_TOKENS) {
      note("decode: each token alone, its context split, the step's tokens appended on the way");
      const fresh = tokens.single ? 1 : tokens.max;
      return decodeDispatches(problem, node.outputs[0], { fresh });
    }
    const ready = scratchRows("ready", tokens.max, heads * headDim);
    const matrices = matrixPrefill(problem, ready);
    const tiles = matrices ? "tiles of queries by matrices, f16 operands" : "tiles of queries";
    note(`prefill: append, ${tiles}, then single tokens of other sequences`);
    return [
      appendDispatch(problem, ready),
      ...matrices ?? [prefillDispatch(problem, ready)],
      ...decodeDispatches(problem, node.outputs[0], { ready }),
    ];
  },
});
