/**
 * Attention of single tokens, each the only one of its sequence, with as little text as possible.
 *
 * @module
 */

import { constants, fragments, joinAccess } from "../access/access.ts";
import { reductionAccess } from "../reduce/reduction.ts";
import combineText from "./combine_lean.wgsl" with { type: "text" };
import { COMBINED, type LanesShape, refuseLanes, turnConstants } from "./decode_lanes.ts";
import decodeBody from "./decode_lean.wgsl" with { type: "text" };
import { type DecodeMode, type DecodeVariant, variantConstants } from "./decode_variant.ts";
import fetchText from "./fetch_lanes.wgsl" with { type: "text" };
import totalsText from "./lane_totals.wgsl" with { type: "text" };
import leanSource from "./lean_source.wgsl" with { type: "text" };
import { type AttentionProblem, sourceAccess } from "./operands.ts";
import shareText from "./share_turns.wgsl" with { type: "text" };
import turnHalf from "./turn_half.wgsl" with { type: "text" };
import turnNone from "./turn_none.wgsl" with { type: "text" };

/**
 * The sizes of the other way, with more keys in flight where no key serves several query heads: all
 * of them come from memory then. Where heads share keys most words come from a cache, and the
 * registers are better left to more workgroups (measured at 1 and 8 sequences, docs/lab_notes.md).
 */
export function leanShape({ attrs }: AttentionProblem, lanes: LanesShape): LanesShape {
  return { ...lanes, unroll: attrs.heads === attrs.kvHeads ? 4 : 2 };
}

/** Why the lean way cannot have these sizes, or undefined when it can. */
export function refuseLean(
  problem: AttentionProblem,
  mode: DecodeMode,
  shape: LanesShape,
): string | undefined {
  const { attrs: { rope, valueNorm, headDim } } = problem;
  const { threads, lanes, unitHeads } = shape;
  if (mode.fresh !== 1) return "takes tokens that are alone in their sequence";
  if (rope && (rope.layout !== "half" || rope.rotaryDim % 16 !== 0)) return "takes rotated halves";
  if (rope && rope.rotaryDim / 2 > threads) return "takes an angle for each invocation";
  if (valueNorm) return "takes values without a norm";
  if (lanes < headDim / 8) return "takes a lane for each chunk of a head";
  if (threads / lanes < unitHeads + 2) return "takes a group of lanes for each head, key and value";
  return refuseLanes(problem, mode, shape);
}

/** The way with these sizes. */
export function leanVariant(
  problem: AttentionProblem,
  mode: DecodeMode,
  shape: LanesShape,
): DecodeVariant {
  const { attrs: { headDim, heads, kvHeads, rope }, context: { profile } } = problem;
  const { threads, lanes, unitHeads } = shape;
  const access = joinAccess(
    sourceAccess(problem),
    fragments(fetchText, totalsText, leanSource, rope ? turnHalf : turnNone),
    reductionAccess(profile, [{ name: "square", slots: "SQUARES", operation: "add" }]),
    constants({
      ...variantConstants(problem, mode, shape),
      ...turnConstants(problem, shape),
      CHUNKS: 1,
      SQUARES: 2,
      ROUNDS_Q: Math.ceil(heads * headDim / 4 / threads),
      ROUNDS_K: Math.ceil(kvHeads * headDim / 4 / threads),
    }),
  );
  return {
    shape,
    body: decodeBody,
    share: shareText,
    combine: combineText,
    combined: COMBINED,
    access,
    note: `lean, ${unitHeads} heads a unit, ${lanes} lanes a key, ${shape.splits} splits`,
  };
}
