/**
 * Attention of single tokens: the context of each is shared out to several workgroups.
 *
 * @module
 */

import type { Value } from "../../graph/mod.ts";
import { composeShader, type ShaderBuffer } from "../compose.ts";
import type { Access } from "../access/access.ts";
import type { DeviceProfile, Dispatch, Scratch, StepSizes } from "../kernel.ts";
import combineBody from "./combine_dispatch.wgsl" with { type: "text" };
import decodeBody from "./decode.wgsl" with { type: "text" };
import combineText from "./combine.wgsl" with { type: "text" };
import fetchText from "./fetch.wgsl" with { type: "text" };
import prepareFresh from "./prepare_fresh.wgsl" with { type: "text" };
import prepareReady from "./prepare_ready.wgsl" with { type: "text" };
import spanText from "./span.wgsl" with { type: "text" };
import partialsDispatch from "../reduce/partials_dispatch.wgsl" with { type: "text" };
import partialsNone from "../reduce/partials_none.wgsl" with { type: "text" };
import partialsTicket from "../reduce/partials_ticket.wgsl" with { type: "text" };
import { joinAccess } from "../access/access.ts";
import {
  type AttentionProblem,
  cacheAccess,
  pagingAccess,
  sinkAccess,
  sizeConstants,
  sourceAccess,
} from "./operands.ts";
import { laneFragments, sharesOfSlot } from "../reduce/lanes.ts";

/** Sizes that a tuner may choose. */
export interface AttentionShape {
  /** Threads of a workgroup; a power of two. */
  readonly threads: number;
  /** Threads that share a token's key. */
  readonly partsK: number;
  /** Query heads of a unit; divides the heads of a group. */
  readonly unitHeads: number;
  /** Workgroups that share one context, at most. */
  readonly splits: number;
}

/** How the step's own tokens reach the cache. */
export interface DecodeMode {
  /** Tokens of a step at most; the kernel brings them into the cache itself. */
  readonly fresh?: number;
  /** Queries that `attention_append` made; it has filled the cache. */
  readonly ready?: Scratch;
}

/** Query heads whose results fit into registers. */
const MAX_UNIT_HEADS = 8;
/**
 * Workgroups that keep a large GPU busy while each waits for memory: two for each of an H100's 132
 * processors. More would take turns there, and leave the last one more to combine.
 */
const WANTED_WORKGROUPS = 264;
const MAX_SPLITS = 32;
/** Splits that the last workgroup loads at a time; a CPU takes seconds to compile as many. */
const COMBINED = { gpu: 16, software: 4 } as const;

/** The widest workgroup, and the most heads, that shared memory allows. */
export function attentionShape(problem: AttentionProblem, mode: DecodeMode): AttentionShape {
  const { attrs, context: { profile, tokens } } = problem;
  const group = attrs.heads / attrs.kvHeads;
  // A CPU gains nothing from wide workgroups, and takes seconds to compile long kernels.
  const most = profile.software ? 2 : MAX_UNIT_HEADS;
  const units = Array.from({ length: most }, (_, i) => most - i)
    .filter((count) => group % count === 0);
  for (const unitHeads of units) {
    for (const threads of profile.software ? [64] : [256, 128, 64]) {
      // Sizes of a list's steps are told by neither end alone.
      const workgroups = attrs.heads / unitHeads * Math.sqrt(tokens.min * tokens.max);
      const splits = clampPower(WANTED_WORKGROUPS / workgroups, MAX_SPLITS);
      const partsK = profile.software ? 4 : threads / 64;
      const shape = { threads, partsK, unitHeads, splits };
      if (threads > profile.maxInvocations || threads < attrs.headDim / 8) continue;
      if (sharedBytes(problem, mode, shape) <= profile.maxWorkgroupStorageBytes) return shape;
    }
  }
  return { threads: 64, partsK: 1, unitHeads: 1, splits: 1 };
}

/** The largest power of two up to a number, from 1 to `most`. */
function clampPower(value: number, most: number): number {
  let power = 1;
  while (power * 2 <= Math.min(value, most)) power *= 2;
  return power;
}

/** Shared memory of `attention_decode`. */
function sharedBytes(
  { attrs, context: { profile } }: AttentionProblem,
  mode: DecodeMode,
  { threads, unitHeads }: AttentionShape,
): number {
  const fresh = mode.fresh ?? 1;
  const groups = Math.floor(threads / (attrs.headDim / 8));
  const slots = mode.fresh === undefined ? 0 : unitHeads + fresh;
  const numbers = unitHeads * (attrs.headDim + threads + 2 * groups) + 8 * threads +
    2 * fresh * attrs.headDim + slots * sharesOfSlot(profile, threads);
  return 4 * numbers + 16;
}

/**
 * The dispatches: one, or two where partial results are handed over between dispatches. Without
 * `mode.fresh` tokens of long runs are left to `attention_prefill`.
 */
export function decodeDispatches(
  problem: AttentionProblem,
  y: Value,
  mode: DecodeMode,
  shape: AttentionShape = attentionShape(problem, mode),
): Dispatch[] {
  const { context } = problem;
  const ticket = (context.handOff ?? "ticket") === "ticket";
  const partials = partialsAccess(problem, shape, ticket);
  const common = joinAccess(
    pagingAccess(problem),
    sinkAccess(problem),
    {
      buffers: [{ name: "y", type: "array<f32>", access: "read_write", buffer: y }],
      fragments: [spanText, combineText],
      constants: { ...sizeConstants(problem), ...shapeConstants(problem, mode, shape) },
    },
    partials,
  );
  const dispatch = decodeDispatch(problem, mode, shape, common, ticket);
  if (ticket || shape.splits === 1) return [dispatch];
  return [dispatch, combineDispatch(problem, mode, shape, common)];
}

function shapeConstants(
  { attrs, context: { profile } }: AttentionProblem,
  mode: DecodeMode,
  shape: AttentionShape,
) {
  const { threads, partsK, unitHeads, splits } = shape;
  const lanes = attrs.headDim / 8;
  const parts = attrs.heads / attrs.kvHeads / unitHeads;
  return {
    PARTS_K: partsK,
    MORE_PARTS_K: partsK - 1,
    HG: unitHeads,
    HEAD_PARTS: parts,
    UNITS: attrs.kvHeads * parts,
    SPLITS: splits,
    FRESH: mode.fresh !== undefined,
    FRESH_MAX: mode.fresh ?? 1,
    ONLY_SHORT_RUNS: mode.fresh === undefined,
    WORDS_K: Math.ceil(lanes / partsK),
    ROUNDS_V: Math.ceil(threads / partsK / Math.floor(threads / lanes)),
    COMBINED: Math.min(splits, profile.software ? COMBINED.software : COMBINED.gpu),
  };
}

/** Constants of `prepare_fresh.wgsl`. */
function freshConstants(
  { attrs }: AttentionProblem,
  fresh: number,
  { threads, unitHeads }: AttentionShape,
) {
  const { heads, kvHeads, headDim, qkNorm } = attrs;
  const rounds = (count: number) => Math.ceil(count / threads);
  const quads = (all: number) => (qkNorm?.over === "all" ? all : 1) * headDim / 4;
  return {
    ELEMENTS: rounds(unitHeads * headDim),
    ELEMENTS_K: rounds(headDim),
    SQUARES_Q: qkNorm === undefined ? 0 : qkNorm.over === "all" ? 1 : unitHeads,
    ROUNDS_Q: rounds(quads(heads)),
    ROUNDS_K: rounds(quads(kvHeads)),
    SLOTS: unitHeads + fresh,
  };
}

function decodeDispatch(
  problem: AttentionProblem,
  mode: DecodeMode,
  shape: AttentionShape,
  common: Access,
  ticket: boolean,
): Dispatch {
  const { profile } = problem.context;
  const fresh = mode.fresh !== undefined;
  const preparation = mode.fresh === undefined
    ? only(prepareReady, readyBuffers(mode.ready))
    : joinAccess(
      sourceAccess(problem),
      only(prepareFresh),
      { buffers: [], fragments: [], constants: freshConstants(problem, mode.fresh, shape) },
    );
  const access = joinAccess(
    cacheAccess(problem, fresh ? "read_write" : "read"),
    common,
    only(fetchText),
    preparation,
  );
  const shader = composeShader({
    constants: { ...access.constants, THREADS: shape.threads, TICKET: ticket },
    buffers: access.buffers,
    fragments: [
      ...access.fragments,
      ...laneFragments(
        profile,
        fresh ? [{ name: "square", slots: "SLOTS", operation: "add" }] : [],
      ),
    ],
    body: decodeBody,
  });
  return {
    kernel: fresh ? "attention_decode" : "attention_decode_ready",
    ...shader,
    workgroups: (sizes) => decodeGrid(problem, mode, shape, sizes, shape.splits),
  };
}

/** The second dispatch of a hand-over between dispatches. */
function combineDispatch(
  problem: AttentionProblem,
  mode: DecodeMode,
  shape: AttentionShape,
  common: Access,
): Dispatch {
  const shader = composeShader({
    constants: { ...common.constants, THREADS: shape.threads, THREADS_DECODE: shape.threads },
    buffers: common.buffers,
    fragments: common.fragments,
    body: combineBody,
  });
  return {
    kernel: "attention_combine",
    ...shader,
    workgroups: (sizes) => decodeGrid(problem, mode, shape, sizes, 1),
  };
}

function decodeGrid(
  { attrs }: AttentionProblem,
  mode: DecodeMode,
  shape: AttentionShape,
  { T, S }: StepSizes,
  splits: number,
): [number, number, number] {
  // A step of one sequence is one long run, which the tiles of attention_prefill serve.
  if (mode.fresh === undefined && S === 1) return [0, 0, 0];
  return [splits, attrs.heads / shape.unitHeads, T];
}

function readyBuffers(ready: Scratch | undefined): ShaderBuffer[] {
  return ready ? [{ name: "ready", type: "array<f32>", access: "read", buffer: ready }] : [];
}

function only(fragment: string, buffers: readonly ShaderBuffer[] = []): Access {
  return { buffers, fragments: [fragment], constants: {} };
}

/** Memory for what splits found, when there can be more than one. */
function partialsAccess(
  { attrs, context }: AttentionProblem,
  shape: AttentionShape,
  ticket: boolean,
): Access {
  if (shape.splits === 1) return only(partialsNone);
  const { unitHeads, splits } = shape;
  const units = (attrs.heads / unitHeads) * context.tokens.max;
  const numbers = units * splits * unitHeads * (attrs.headDim + 2);
  const partials: ShaderBuffer = {
    name: "partials",
    type: ticket ? "array<atomic<u32>>" : "array<f32>",
    access: "read_write",
    buffer: { kind: "scratch", name: "partials", bytes: numbers * 4 },
  };
  if (!ticket) return only(partialsDispatch, [partials]);
  return only(partialsTicket, [partials, {
    name: "tickets",
    type: "array<atomic<u32>>",
    access: "read_write",
    buffer: { kind: "scratch", name: "tickets", bytes: units * 4, tickets: true },
  }]);
}

/** Whether a device's shared memory and threads suffice for a head of this size. */
export function headTooLarge(problem: AttentionProblem, profile: DeviceProfile): boolean {
  const shape = { threads: 64, partsK: 1, unitHeads: 1, splits: 1 };
  return sharedBytes(problem, { fresh: problem.context.tokens.max }, shape) >
    profile.maxWorkgroupStorageBytes;
}
