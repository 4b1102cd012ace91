/**
 * `cached_mla_attention` in the absorbed form: queries are taken to the latents, whose cache is read
 * once for keys and values, and the mixed latents become values of each head at the end.
 *
 * @module
 */

import { input, optionalInput } from "../../../graph/mod.ts";
import { constants, reads, writes } from "../../access/access.ts";
import { weightAccess, weightRowBytes } from "../../access/weights.ts";
import { f32Literal } from "../../compose.ts";
import { composeDispatch } from "../../dispatch.ts";
import { defineKernel, type Dispatch, type Scratch } from "../../kernel.ts";
import { scratchRows, unreadableWeight } from "../../linear/linear.ts";
import { laneSum } from "../../reduce/lane_sum.ts";
import { reductionAccess } from "../../reduce/reduction.ts";
import { keysAccess } from "../operands.ts";
import attendBody from "./attend.wgsl" with { type: "text" };
import {
  groupsOver,
  MAX_UNIT,
  type MlaProblem,
  piecesOfHead,
  problemOf,
  sizeConstants,
  stepAccess,
  TILE_KEYS,
} from "./problem.ts";
import { queryDispatches } from "./queries.ts";
import raiseBody from "./raise.wgsl" with { type: "text" };

const RAISE_INVOCATIONS = 128;
/** Invocations that share a row of values. */
const RAISE_LANES = 8;

function attendDispatch(problem: MlaProblem, ready: Scratch, partials: Scratch): Dispatch {
  const { attrs, context, cacheFormat, words, unit, splits } = problem;
  return composeDispatch({
    kernel: "mla_attend",
    accesses: [
      stepAccess(problem),
      keysAccess(attrs.cache, attrs.latentDim + attrs.ropeDim, cacheFormat, "read"),
      constants({
        ...sizeConstants(problem),
        INVOCATIONS: TILE_KEYS,
        UNIT: unit,
        TEAMS: groupsOver(words, TILE_KEYS),
        SCALE: f32Literal(attrs.scale, "a scale of attention"),
      }),
      reads("ready", "f32", ready),
      writes("partials", "f32", partials),
      reductionAccess(context.profile, [
        { name: "peak", slots: "UNIT", operation: "max" },
        { name: "total", slots: "UNIT", operation: "add" },
      ]),
    ],
    body: attendBody,
    workgroups: ({ T }) => [T, attrs.heads / unit, splits],
  });
}

function raiseDispatch(problem: MlaProblem, partials: Scratch): Dispatch {
  const { node, attrs, weight, context: { profile } } = problem;
  const { heads, valueDim } = attrs;
  const rows = RAISE_INVOCATIONS / RAISE_LANES;
  const pieces = piecesOfHead(problem, Math.ceil(valueDim / rows));
  const piece = Math.ceil(valueDim / pieces / rows) * rows;
  return composeDispatch({
    kernel: "mla_raise",
    accesses: [
      weightAccess("w", weight),
      stepAccess(problem),
      constants({
        ...sizeConstants(problem),
        ...{ INVOCATIONS: RAISE_INVOCATIONS, LANES: RAISE_LANES },
        ...{ PIECE: piece, PIECES: Math.ceil(valueDim / piece) },
      }),
      reads("partials", "f32", partials),
      writes("y", "f32", node.outputs[0]),
      laneSum(profile, RAISE_LANES),
    ],
    body: raiseBody,
    workgroups: ({ T }) => [T, heads * Math.ceil(valueDim / piece), 1],
    weightBytes: () => heads * valueDim * weightRowBytes(weight.format, weight.columns),
  });
}

/** `cached_mla_attention`. */
export const mlaAttention = defineKernel({
  name: "mla_attention",
  op: "cached_mla_attention",
  summary:
    "absorbed form in three dispatches: queries to the latents, attention over shares of the context, values of the mixed latents",
  refuse(node, { profile }) {
    const { latentDim, ropeDim } = node.attrs;
    if ((latentDim + ropeDim) % 8 !== 0) {
      return `takes latents and turning keys of a multiple of 8 together, not ${latentDim} + ${ropeDim}`;
    }
    if (Math.ceil(latentDim / 8) > TILE_KEYS) return `takes latents of up to ${8 * TILE_KEYS}`;
    const bytes = 4 * (MAX_UNIT * (latentDim + ropeDim + 3 * TILE_KEYS) + 9 * TILE_KEYS);
    if (bytes > profile.maxWorkgroupStorageBytes) return "needs more workgroup memory";
    if (optionalInput(node, "kv_norm")?.dtype !== "f32") return "takes a norm of f32";
    const weights = [input(node, "w"), optionalInput(node, "q_w")].filter((each) =>
      each !== undefined
    );
    return weights.map(unreadableWeight).find((reason) => reason !== undefined);
  },
  lower(node, context) {
    const problem = problemOf(node, context);
    const { heads, latentDim, ropeDim } = node.attrs;
    const { splits, unit } = problem;
    context.note(`latent attention, ${unit} heads a workgroup, the context in ${splits} shares`);
    const ready = scratchRows("ready", context.tokens.max, heads * (latentDim + ropeDim));
    const partials = scratchRows(
      "partials",
      context.tokens.max,
      heads * splits * (latentDim + 2),
    );
    return [
      ...queryDispatches(problem, ready),
      attendDispatch(problem, ready, partials),
      raiseDispatch(problem, partials),
    ];
  },
});
