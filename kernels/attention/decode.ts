/**
 * Attention of single tokens: the context of each is shared out to several workgroups.
 *
 * @module
 */

import type { Value } from "../../graph/mod.ts";
import type { Access } from "../access/access.ts";
import { joinAccess } from "../access/access.ts";
import { composeShader, type ShaderBuffer } from "../compose.ts";
import type { Dispatch, StepSizes } from "../kernel.ts";
import partialsDispatch from "../reduce/partials_dispatch.wgsl" with { type: "text" };
import partialsNone from "../reduce/partials_none.wgsl" with { type: "text" };
import partialsTicket from "../reduce/partials_ticket.wgsl" with { type: "text" };
import combineBody from "./combine_dispatch.wgsl" with { type: "text" };
import { type LanesShape, lanesShape, lanesVariant } from "./decode_lanes.ts";
import type { DecodeMode, DecodeShape, DecodeVariant } from "./decode_variant.ts";
import { workgroupShape, workgroupVariant } from "./decode_workgroup.ts";
import {
  type AttentionProblem,
  cacheAccess,
  pagingAccess,
  sinkAccess,
  sizeConstants,
} from "./operands.ts";
import resultText from "./result.wgsl" with { type: "text" };

/** The way that suits the device. */
export function decodeVariant(
  problem: AttentionProblem,
  mode: DecodeMode,
  lanes: LanesShape | undefined = lanesShape(problem, mode),
): DecodeVariant {
  return lanes
    ? lanesVariant(problem, mode, lanes)
    : workgroupVariant(problem, mode, workgroupShape(problem, mode));
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
    {
      buffers: [{ name: "y", type: "array<f32>", access: "read_write", buffer: y }],
      fragments: [resultText, combine],
      constants: { ...sizeConstants(problem), COMBINED: Math.min(shape.splits, combined) },
    },
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
  const access = joinAccess(cacheAccess(problem, fresh ? "read_write" : "read"), common, own);
  const shader = composeShader({
    constants: { ...access.constants, THREADS: shape.threads, TICKET: ticket },
    buffers: access.buffers,
    fragments: [...access.fragments, share],
    body,
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
  { shape, share, access }: DecodeVariant,
  common: Access,
): Dispatch {
  const shader = composeShader({
    constants: { ...common.constants, ...access.constants, THREADS: shape.threads },
    buffers: common.buffers,
    fragments: [...common.fragments, share],
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
  const only = (fragment: string, buffers: readonly ShaderBuffer[]) => ({
    buffers,
    fragments: [fragment],
    constants: {},
  });
  if (splits === 1) return only(partialsNone, []);
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
