/**
 * Attention of single tokens on devices without subgroups to rely on: scores pass through workgroup
 * memory, one head of a unit after the other.
 *
 * @module
 */

import { constants, fragments, joinAccess } from "../access/access.ts";
import { reductionAccess, sharesOfSlot } from "../reduce/reduction.ts";
import combineText from "./combine.wgsl" with { type: "text" };
import {
  clampPower,
  type DecodeMode,
  type DecodeShape,
  type DecodeVariant,
  unitSizes,
  variantConstants,
} from "./decode_variant.ts";
import decodeBody from "./decode_workgroup.wgsl" with { type: "text" };
import fetchText from "./fetch_workgroup.wgsl" with { type: "text" };
import { type AttentionProblem, readyAccess, sourceAccess } from "./operands.ts";
import prepareHeads from "./prepare_heads.wgsl" with { type: "text" };
import shareText from "./share_tiles.wgsl" with { type: "text" };

/** Sizes that a tuner may choose. */
export interface WorkgroupShape extends DecodeShape {
  /** Invocations that share a token's key. */
  readonly lanesK: number;
}

/**
 * Query heads of a unit at most (on a GPU as many as have results that fit into registers), workgroups in
 * the order of preference, and numbers of a head for each invocation.
 */
const ON_GPU = { unitHeads: 8, threads: [256, 128, 64], elements: 8 } as const;
const ON_CPU = { unitHeads: 1, threads: [16, 32, 64, 128], elements: 4 } as const;
/**
 * Workgroups that keep a large GPU busy while each waits for memory: two for each of an H100's 132
 * processors. More would take turns there, and leave the last one more to combine.
 */
const WANTED_WORKGROUPS = 264;
/** A CPU begins every workgroup by making a context for each of its vectors, even where there is nothing to do. */
const WANTED_ON_CPU = 8;
const MAX_SPLITS = 32;
/** Splits that the last workgroup loads at a time; a CPU takes seconds to compile as many. */
const COMBINED = { gpu: 16, software: 4 } as const;

/** The widest workgroup, and the most heads, that workgroup memory allows. */
export function workgroupShape(problem: AttentionProblem, mode: DecodeMode): WorkgroupShape {
  const { attrs, context: { profile, tokens } } = problem;
  // A software adapter gains nothing from many heads in a unit, and takes seconds to compile long texts:
  // what an invocation prepares of a head is written out number by number.
  const { unitHeads: mostHeads, threads: widths, elements } = profile.software ? ON_CPU : ON_GPU;
  for (const unitHeads of unitSizes(problem, mostHeads)) {
    for (const threads of widths) {
      // Sizes of a list's steps are told by neither end alone.
      const workgroups = attrs.heads / unitHeads * Math.sqrt(tokens.min * tokens.max);
      const wanted = profile.software ? WANTED_ON_CPU : WANTED_WORKGROUPS;
      const splits = clampPower(wanted / workgroups, MAX_SPLITS);
      const lanesK = profile.software ? 4 : threads / 64;
      const shape = { threads, lanesK, unitHeads, splits };
      if (threads > profile.maxInvocations || threads < attrs.headDim / elements) continue;
      // Each of the step's own tokens has invocations of its own.
      if (threads / lanesK < (mode.fresh ?? 1)) continue;
      if (sharedBytes(problem, mode, shape) <= profile.maxWorkgroupStorageBytes) return shape;
    }
  }
  return SMALLEST;
}

/** What any device can run, as far as its memory goes. */
const SMALLEST: WorkgroupShape = { threads: 64, lanesK: 1, unitHeads: 1, splits: 1 };

/** Whether a device's workgroup memory suffices for a head of this size. */
export function headTooLarge(problem: AttentionProblem): boolean {
  const { profile, tokens } = problem.context;
  return sharedBytes(problem, { fresh: tokens.max }, SMALLEST) > profile.maxWorkgroupStorageBytes;
}

function sharedBytes(
  { attrs, context: { profile } }: AttentionProblem,
  mode: DecodeMode,
  { threads, unitHeads }: WorkgroupShape,
): number {
  const fresh = mode.fresh ?? 1;
  const groups = Math.floor(threads / (attrs.headDim / 8));
  const slots = mode.fresh === undefined ? 0 : unitHeads + (attrs.valueNorm ? 2 : 1) * fresh;
  const numbers = unitHeads * (attrs.headDim + threads + 2 * groups) + 8 * threads +
    2 * fresh * attrs.headDim + slots * sharesOfSlot(profile, threads);
  return 4 * numbers + 16;
}

/** The way with these sizes. */
export function workgroupVariant(
  problem: AttentionProblem,
  mode: DecodeMode,
  shape: WorkgroupShape,
): DecodeVariant {
  const { attrs, context: { profile } } = problem;
  const { threads, lanesK } = shape;
  const lanes = attrs.headDim / 8;
  const preparation = mode.fresh === undefined ? readyAccess(mode.ready) : joinAccess(
    sourceAccess(problem),
    fragments(prepareHeads),
    constants(freshConstants(problem, mode.fresh, shape)),
  );
  const squares = { name: "square", slots: "SLOTS", operation: "add" } as const;
  return {
    shape,
    body: decodeBody,
    share: shareText,
    combine: combineText,
    combined: profile.software ? COMBINED.software : COMBINED.gpu,
    access: joinAccess(
      preparation,
      fragments(fetchText),
      reductionAccess(profile, mode.fresh === undefined ? [] : [squares]),
      constants({
        ...variantConstants(problem, mode, shape),
        TILE: threads / lanesK,
        LANES_K: lanesK,
        MORE_LANES_K: lanesK - 1,
        WORDS_K: Math.ceil(lanes / lanesK),
        ROUNDS_V: Math.ceil(threads / lanesK / Math.floor(threads / lanes)),
      }),
    ),
    note: `${shape.unitHeads} heads a unit, ${shape.splits} splits, through workgroup memory`,
  };
}

/** Constants of `prepare_heads.wgsl`. */
function freshConstants(
  { attrs }: AttentionProblem,
  fresh: number,
  { threads, unitHeads }: WorkgroupShape,
) {
  const { heads, kvHeads, headDim, qkNorm, valueNorm } = attrs;
  const rounds = (count: number) => Math.ceil(count / threads);
  const quads = (all: number) => (qkNorm?.over === "all" ? all : 1) * headDim / 4;
  return {
    ELEMENTS: rounds(unitHeads * headDim),
    ELEMENTS_K: rounds(headDim),
    SQUARES_Q: qkNorm === undefined ? 0 : qkNorm.over === "all" ? 1 : unitHeads,
    ROUNDS_Q: rounds(quads(heads)),
    ROUNDS_K: rounds(quads(kvHeads)),
    SLOTS: unitHeads + (valueNorm ? 2 : 1) * fresh,
  };
}
