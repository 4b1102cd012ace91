/**
 * `cached_attention`: few tokens, and sequences with a token each, in one dispatch; many in two or
 * three, which bring them into the cache, attend in tiles of queries, and attend to sequences with
 * single tokens one by one.
 *
 * @module
 */

import { constants, fragments, joinAccess, writes } from "../access/access.ts";
import { composeDispatch } from "../dispatch.ts";
import { defineKernel, type Dispatch, foldGrid } from "../kernel.ts";
import { scratchRows } from "../linear/linear.ts";
import appendBody from "./append.wgsl" with { type: "text" };
import { decodeDispatches, tunableDecode } from "./decode.ts";
import { headTooLarge } from "./decode_workgroup.ts";
import { prefillTile } from "./matrix_tiles.ts";
import {
  type AttentionProblem,
  cacheAccess,
  pagingAccess,
  pagingConstants,
  problemOf,
  sinkAccess,
  sizeConstants,
  sourceAccess,
} from "./operands.ts";
import { prefillDispatch, type TileProblem } from "./prefill.ts";
import { matrixPrefill } from "./prefill_matrices.ts";
import wholeContext from "./whole_context.wgsl" with { type: "text" };

/** Tokens of a step up to which each attends by itself, whether or not sequences have several. */
export const DECODE_MAX_TOKENS = 8;
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

/** Tiles of queries over the paged cache. */
function tilesOf(problem: AttentionProblem, ready: ReturnType<typeof scratchRows>): TileProblem {
  const { node, attrs: { heads, kvHeads, headDim, window, scale }, context } = problem;
  return {
    ...{ heads, kvHeads, headDim, valueDim: headDim, scale, ready, y: node.outputs[0] },
    source: joinAccess(
      pagingAccess(problem),
      cacheAccess(problem, "read"),
      sinkAccess(problem),
      pagingConstants({ kvHeads, window, pageSize: context.pageSize }),
    ),
    results: fragments(wholeContext),
    profile: context.profile,
    runs: () => true,
  };
}

/** The dispatches of tiles, by matrices where these can serve. */
function tileDispatches(
  { cacheFormat, context }: AttentionProblem,
  tiles: TileProblem,
): readonly Dispatch[] {
  const { tokens, note } = context;
  const tile = prefillTile(tiles, context, cacheFormat);
  const matrices = tile && matrixPrefill(tiles, tile, tokens.max);
  const how = matrices ? "tiles of queries by matrices, f16 operands" : "tiles of queries";
  note(`prefill: append, ${how}, then single tokens of other sequences`);
  return matrices ? [matrices.halve, matrices.attend(tiles)] : [prefillDispatch(tiles)];
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
  tunable: (node, context) => tunableDecode(problemOf(node, context)),
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
    return [
      appendDispatch(problem, ready),
      ...tileDispatches(problem, tilesOf(problem, ready)),
      ...decodeDispatches(problem, node.outputs[0], { ready }),
    ];
  },
});
