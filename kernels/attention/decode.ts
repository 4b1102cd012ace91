/**
 * Attention of single tokens: the context of each is shared out to several workgroups.
 *
 * @module
 */

import type { Value } from "../../graph/mod.ts";
import { type Access, constants, fragments, joinAccess, writes } from "../access/access.ts";
import { composeDispatch } from "../dispatch.ts";
import type { Dispatch, StepSizes, TunableSizes } from "../kernel.ts";
import { dispatchPartials, noPartials, ticketPartials } from "../reduce/partials.ts";
import combineBody from "./combine_dispatch.wgsl" with { type: "text" };
import { type LanesShape, lanesShape, lanesVariant } from "./decode_lanes.ts";
import { leanShape, leanVariant, refuseLean } from "./decode_lean.ts";
import type { DecodeMode, DecodeShape, DecodeVariant } from "./decode_variant.ts";
import { workgroupShape, workgroupVariant } from "./decode_workgroup.ts";
import { chooseDecodeShape, decodeCandidates, decodeFileName } from "./tuned_decode.ts";
import {
  type AttentionProblem,
  cacheAccess,
  pagingAccess,
  sinkAccess,
  sizeConstants,
} from "./operands.ts";
import resultText from "./result.wgsl" with { type: "text" };

/** Sizes that the lean way has without a table, or why another way is taken: lanes where they have sizes. */
function usualSizes(problem: AttentionProblem, mode: DecodeMode): {
  readonly lean: LanesShape | string;
  readonly lanes?: LanesShape;
} {
  const lanes = lanesShape(problem, mode);
  if (!lanes) return { lean: "no subgroups to rely on" };
  const lean = leanShape(problem, lanes);
  return { lean: refuseLean(problem, mode, lean) ?? lean, lanes };
}

/** The way that suits the device, and what the lean one does not take. */
export function decodeVariant(problem: AttentionProblem, mode: DecodeMode): DecodeVariant {
  const { lean, lanes } = usualSizes(problem, mode);
  if (!lanes) return workgroupVariant(problem, mode, workgroupShape(problem, mode));
  if (typeof lean === "string") return lanesVariant(problem, mode, lanes);
  const { shape, source } = chooseDecodeShape(problem, mode, lean);
  if (source !== undefined) problem.context.note(`sizes of ${source}`);
  return leanVariant(problem, mode, shape);
}

/** The sizes of tokens that are alone in their sequence. */
export function tunableDecode(problem: AttentionProblem): TunableSizes | string {
  const mode = { fresh: 1 };
  const { lean } = usualSizes(problem, mode);
  if (typeof lean === "string") return `attention has one size here: ${lean}`;
  return { file: decodeFileName(problem), rows: decodeCandidates(problem, mode, lean) };
}

/**
 * The dispatches: one, or two where partial results are handed over between dispatches. Without
 * `mode.fresh` tokens of long runs are left to `attention_prefill`.
 */
export function decodeDispatches(
  problem: AttentionProblem,
  y: Value,
  mode: DecodeMode,
  variant: DecodeVariant = decodeVariant(problem, mode),
): Dispatch[] {
  const { handOff } = problem.context;
  const { shape, combine, combined } = variant;
  const ticket = (handOff ?? "ticket") === "ticket";
  const common = joinAccess(
    pagingAccess(problem),
    sinkAccess(problem),
    writes("y", "f32", y),
    fragments(resultText, combine),
    constants({ ...sizeConstants(problem), COMBINED: Math.min(shape.splits, combined) }),
    partialsAccess(problem, shape, ticket),
  );
  const dispatch = decodeDispatch(problem, mode, variant, common, ticket);
  if (ticket || shape.splits === 1) return [dispatch];
  return [dispatch, combineDispatch(problem, mode, variant, common)];
}

function decodeDispatch(
  problem: AttentionProblem,
  mode: DecodeMode,
  { shape, body, share, access: own }: DecodeVariant,
  common: Access,
  ticket: boolean,
): Dispatch {
  const fresh = mode.fresh !== undefined;
  return composeDispatch({
    kernel: fresh ? "attention_decode" : "attention_decode_ready",
    accesses: [
      cacheAccess(problem, fresh ? "read_write" : "read"),
      common,
      own,
      constants({ INVOCATIONS: shape.threads, TICKET: ticket }),
      fragments(share),
    ],
    body,
    workgroups: (sizes) => decodeGrid(problem, mode, shape, sizes, splitsIn(problem, shape, sizes)),
  });
}

/** The second dispatch of a hand-over between dispatches. */
function combineDispatch(
  problem: AttentionProblem,
  mode: DecodeMode,
  { shape, share, access }: DecodeVariant,
  common: Access,
): Dispatch {
  return composeDispatch({
    kernel: "attention_combine",
    accesses: [
      common,
      constants({ ...access.constants, INVOCATIONS: shape.threads }),
      fragments(share),
    ],
    body: combineBody,
    workgroups: (sizes) => decodeGrid(problem, mode, shape, sizes, 1),
  });
}

/** Splits that the longest context of a step can have: a workgroup with nothing to do takes time too. */
function splitsIn(
  { context }: AttentionProblem,
  { splits, leastShare }: DecodeShape,
  { P }: StepSizes,
): number {
  if (leastShare === undefined) return splits;
  return Math.min(splits, Math.ceil(P * context.pageSize / leastShare));
}

function decodeGrid(
  { attrs }: AttentionProblem,
  mode: DecodeMode,
  shape: DecodeShape,
  { T, S }: StepSizes,
  splits: number,
): [number, number, number] {
  // A step of one sequence is one long run, which the tiles of attention_prefill serve.
  if (mode.fresh === undefined && S === 1) return [0, 0, 0];
  return [splits, attrs.heads / shape.unitHeads, T];
}

/** Memory for what splits found, when there can be more than one. */
function partialsAccess(
  { attrs, context }: AttentionProblem,
  { unitHeads, splits }: DecodeShape,
  ticket: boolean,
): Access {
  if (splits === 1) return noPartials();
  const units = (attrs.heads / unitHeads) * context.tokens.max;
  const numbers = units * splits * unitHeads * (attrs.headDim + 2);
  return ticket
    ? ticketPartials({ name: "partials", numbers, tickets: units })
    : dispatchPartials({ name: "partials", numbers });
}
