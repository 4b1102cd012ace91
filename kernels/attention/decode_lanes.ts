/**
 * Attention of single tokens where subgroups have a size that can be relied on: lanes of a subgroup
 * share a key, and nothing passes through workgroup memory while the context is read.
 *
 * @module
 */

import { constants, fragments, joinAccess } from "../access/access.ts";
import type { DeviceProfile } from "../kernel.ts";
import { sureSubgroup } from "../reduce/lane_sum.ts";
import { reductionAccess } from "../reduce/reduction.ts";
import combineText from "./combine_weights.wgsl" with { type: "text" };
import decodeBody from "./decode_lanes.wgsl" with { type: "text" };
import {
  clampPower,
  type DecodeMode,
  type DecodeShape,
  type DecodeVariant,
  unitSizes,
  variantConstants,
} from "./decode_variant.ts";
import fetchText from "./fetch_lanes.wgsl" with { type: "text" };
import totalsText from "./lane_totals.wgsl" with { type: "text" };
import { type AttentionProblem, readyAccess, sourceAccess } from "./operands.ts";
import prepareSlots from "./prepare_slots.wgsl" with { type: "text" };
import shareText from "./share_turns.wgsl" with { type: "text" };

/** Query heads whose queries and results fit into registers. */
const MAX_UNIT_HEADS = 8;
/** Units of all tokens that keep a large GPU busy: an H100 has 132 processors. */
const WANTED_UNITS = 128;
const MAX_SPLITS = 32;
/** Positions of a workgroup at least: four turns of 16 on an H100, where 16 and 128 are slower. */
const LEAST_SHARE = 64;
/** Splits that the last workgroup loads at a time. */
export const COMBINED = 8;

/** Sizes that a tuner may choose. */
export interface LanesShape extends DecodeShape {
  /** Invocations that share a token's key; a power of two, all in one subgroup. */
  readonly lanes: number;
  /** Keys, and values, that each of them has in flight. */
  readonly unroll: number;
  /** Whether the next turn is asked for before this one is computed; takes registers. */
  readonly ahead: boolean;
  /** Positions that are not worth another workgroup; the kernel rounds them up to whole turns. */
  readonly leastShare: number;
}

/** Sizes for a problem, or undefined on devices without subgroups that serve. */
export function lanesShape(problem: AttentionProblem, mode: DecodeMode): LanesShape | undefined {
  const { context: { profile } } = problem;
  if (profile.software || sureSubgroup(profile) < 8) return undefined;
  for (const unitHeads of unitSizes(problem, unitLimit(problem))) {
    for (const threads of [128, 64]) {
      const lanes = lanesFor(problem, profile);
      const common = { threads, unitHeads, lanes, unroll: 2, ahead: false };
      const shape = { ...common, splits: splitsFor(problem), leastShare: LEAST_SHARE };
      if (refuseLanes(problem, mode, shape) === undefined) return shape;
    }
  }
  return undefined;
}

/**
 * Heads of a unit at most: one while workgroups are few, because a head is then worth a workgroup of
 * its own, and as many as registers hold when there are more than enough tokens.
 */
function unitLimit({ attrs, context: { tokens } }: AttentionProblem): number {
  const units = attrs.heads * Math.sqrt(tokens.min * tokens.max);
  return clampPower(units / WANTED_UNITS, MAX_UNIT_HEADS);
}

/** As many as one binding holds the partial results of, when every token of a step is one of its own. */
function splitsFor({ attrs, context: { profile, tokens } }: AttentionProblem): number {
  const bytes = 4 * attrs.heads * tokens.max * (attrs.headDim + 2);
  return clampPower(profile.maxBindingBytes / bytes, MAX_SPLITS);
}

/** A lane for each chunk of a head, as far as a subgroup reaches. */
function lanesFor({ attrs }: AttentionProblem, profile: DeviceProfile): number {
  let lanes = 1;
  while (lanes < attrs.headDim / 8) lanes *= 2;
  return Math.min(sureSubgroup(profile), lanes);
}

/** Why a device cannot run a shape, or undefined when it can. */
export function refuseLanes(
  problem: AttentionProblem,
  mode: DecodeMode,
  shape: LanesShape,
): string | undefined {
  const { profile } = problem.context;
  const { threads, lanes } = shape;
  if (lanes > sureSubgroup(profile)) return `${lanes} lanes exceed a subgroup`;
  if (threads > profile.maxInvocations) {
    return `${threads} threads, ${profile.maxInvocations} at most`;
  }
  if (threads / lanes < (mode.fresh ?? 1)) return "more tokens of a step than groups of lanes";
  const bytes = sharedBytes(problem, mode, shape);
  if (bytes <= profile.maxWorkgroupStorageBytes) return undefined;
  return `${bytes} bytes of workgroup memory, ${profile.maxWorkgroupStorageBytes} at most`;
}

function sharedBytes(problem: AttentionProblem, mode: DecodeMode, shape: LanesShape): number {
  const { attrs: { headDim }, context: { profile } } = problem;
  const { threads, unitHeads, splits } = shape;
  const fresh = mode.fresh ?? 1;
  const parties = partiesOf(shape, profile);
  const slots = mode.fresh === undefined ? 0 : unitHeads + fresh;
  const squares = mode.fresh === undefined ? 0 : (1 + fresh) * Math.max(1, threads / 8);
  const numbers = headDim * (unitHeads + 2 * fresh + slots + parties * unitHeads) +
    2 * parties * unitHeads + 2 * unitHeads * splits + squares;
  return 4 * numbers + 16;
}

/** Groups of lanes that meet by shuffles. */
function joinedGroups({ lanes, threads }: LanesShape, profile: DeviceProfile): number {
  return Math.min(sureSubgroup(profile), threads) / lanes;
}

function partiesOf(shape: LanesShape, profile: DeviceProfile): number {
  return shape.threads / shape.lanes / joinedGroups(shape, profile);
}

/** Constants of `fetch_lanes.wgsl`, `lane_totals.wgsl` and `share_turns.wgsl`. */
export function turnConstants({ context: { profile } }: AttentionProblem, shape: LanesShape) {
  const { threads, lanes, unroll, leastShare } = shape;
  const groups = threads / lanes;
  const joined = joinedGroups(shape, profile);
  const turn = groups * unroll;
  return {
    LANES: lanes,
    STEPS: Math.log2(lanes),
    GROUPS: groups,
    JOINED: joined,
    JOINS: Math.log2(joined),
    PARTIES: groups / joined,
    UNROLL: unroll,
    TURN: turn,
    LEAST_SHARE: Math.ceil(leastShare / turn) * turn,
  };
}

/** The way with these sizes. */
export function lanesVariant(
  problem: AttentionProblem,
  mode: DecodeMode,
  shape: LanesShape,
): DecodeVariant {
  const { attrs: { headDim }, context: { profile } } = problem;
  const { lanes, ahead, unitHeads } = shape;
  const preparation = mode.fresh === undefined
    ? readyAccess(mode.ready)
    : slotsAccess(problem, mode.fresh, shape);
  const access = joinAccess(
    preparation,
    fragments(fetchText, totalsText),
    reductionAccess(
      profile,
      mode.fresh === undefined ? [] : [{ name: "square", slots: "SQUARES", operation: "add" }],
    ),
    constants({
      ...variantConstants(problem, mode, shape),
      ...turnConstants(problem, shape),
      CHUNKS: Math.ceil(headDim / 8 / lanes),
      AHEAD: ahead,
    }),
  );
  return {
    shape,
    body: decodeBody,
    share: shareText,
    combine: combineText,
    combined: COMBINED,
    access,
    note: `${unitHeads} heads a unit, ${lanes} lanes a key, ${shape.splits} splits`,
  };
}

/** Constants of `prepare_slots.wgsl`, and what it reads. */
function slotsAccess(problem: AttentionProblem, fresh: number, shape: LanesShape) {
  const { heads, kvHeads, headDim } = problem.attrs;
  const { threads, lanes, unitHeads } = shape;
  const sizes = {
    SLOTS: unitHeads + fresh,
    SLOT_ROUNDS: Math.ceil((unitHeads + fresh) / (threads / lanes)),
    OWN_ROUNDS: Math.ceil(fresh / (threads / lanes)),
    VALUE_ROUNDS: Math.ceil(fresh * headDim / threads),
    ROUNDS_Q: Math.ceil(heads * headDim / 4 / threads),
    ROUNDS_K: Math.ceil(kvHeads * headDim / 4 / threads),
    SQUARES: 1 + fresh,
  };
  return joinAccess(sourceAccess(problem), fragments(prepareSlots), constants(sizes));
}
