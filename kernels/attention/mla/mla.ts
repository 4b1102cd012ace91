/**
 * `cached_mla_attention`. In the absorbed form queries are taken to the latents, whose cache is read
 * once for keys and values, and the mixed latents become values of each head at the end. Sequences with
 * many tokens in a step take the expanded form (`expand.ts`), which is less arithmetic for them.
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
import { expandedDispatches } from "./expand.ts";
import { allExpanded, expansionOf, stretchBytes } from "./expansion.ts";
import { formAccess, planDispatch } from "./forms.ts";
import attendBody from "./attend.wgsl" with { type: "text" };
import {
  groupsOver,
  type MlaProblem,
  piecesOfHead,
  problemOf,
  sizeConstants,
  stepAccess,
} from "./problem.ts";
import { queryDispatches } from "./queries.ts";
import raiseBody from "./raise.wgsl" with { type: "text" };

const MAX_LATENT = 1024;
const RAISE_INVOCATIONS = 128;
/** Invocations that share a row of values. */
const RAISE_LANES = 8;
/** Invocations that share a key. */
const KEY_LANES = 8;

/** Workgroups for each token, but none where the host knows that all of a step is expanded. */
function absorbed(problem: MlaProblem, y: number, z: number): Dispatch["workgroups"] {
  const { expansion } = problem;
  return (sizes) =>
    expansion && allExpanded(problem, expansion, sizes) ? [0, 0, 0] : [sizes.T, y, z];
}

function attendDispatch(problem: MlaProblem, ready: Scratch, partials: Scratch): Dispatch {
  const { attrs, context: { profile }, cacheFormat, words, unit, splits, invocations } = problem;
  const { expansion } = problem;
  const width = attrs.latentDim + attrs.ropeDim;
  return composeDispatch({
    kernel: "mla_attend",
    accesses: [
      stepAccess(problem),
      keysAccess(attrs.cache, width, cacheFormat, "read"),
      constants({
        ...sizeConstants(problem),
        INVOCATIONS: invocations,
        UNIT: unit,
        TEAMS: groupsOver(words, invocations, profile),
        LANES: KEY_LANES,
        // A CPU takes seconds to compile what is written out for a GPU.
        WORDS_IN_FLIGHT: profile.software ? 1 : Math.min(9, Math.ceil(width / 8 / KEY_LANES)),
        KEYS_IN_FLIGHT: profile.software ? 1 : 8,
        SCALE: f32Literal(attrs.scale, "a scale of attention"),
      }),
      formAccess(expansion),
      reads("ready", "f32", ready),
      writes("partials", "f32", partials),
      laneSum(profile, KEY_LANES),
      reductionAccess(profile, [
        { name: "peak", slots: "UNIT", operation: "max" },
        { name: "total", slots: "UNIT", operation: "add" },
      ]),
    ],
    body: attendBody,
    workgroups: absorbed(problem, attrs.heads / unit, splits),
  });
}

function raiseDispatch(problem: MlaProblem, partials: Scratch): Dispatch {
  const { node, attrs, weight, expansion, context: { profile } } = problem;
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
        WORDS_IN_FLIGHT: profile.software ? 1 : Math.min(8, Math.ceil(problem.words / RAISE_LANES)),
        SPLITS_IN_FLIGHT: Math.min(8, problem.splits),
      }),
      formAccess(expansion),
      reads("partials", "f32", partials),
      writes("y", "f32", node.outputs[0]),
      laneSum(profile, RAISE_LANES),
    ],
    body: raiseBody,
    workgroups: absorbed(problem, heads * Math.ceil(valueDim / piece), 1),
    weightBytes: () => heads * valueDim * weightRowBytes(weight.format, weight.columns),
  });
}

/** `cached_mla_attention`. */
export const mlaAttention = defineKernel({
  name: "mla_attention",
  op: "cached_mla_attention",
  summary:
    "absorbed form in three dispatches: queries to the latents, attention over shares of the context, values of the mixed latents; sequences with many tokens in the expanded form: keys and values of a stretch of their contexts at a time, then tiles of queries",
  refuse(node, context) {
    const { latentDim, ropeDim } = node.attrs;
    if ((latentDim + ropeDim) % 8 !== 0) {
      return `takes latents and turning keys of a multiple of 8 together, not ${latentDim} + ${ropeDim}`;
    }
    if (latentDim > MAX_LATENT) return `takes latents of up to ${MAX_LATENT}`;
    if (problemOf(node, context).unit === 0) return "needs more workgroup memory";
    if (optionalInput(node, "kv_norm")?.dtype !== "f32") return "takes a norm of f32";
    const weights = [input(node, "w"), optionalInput(node, "q_w")].filter((each) =>
      each !== undefined
    );
    return weights.map(unreadableWeight).find((reason) => reason !== undefined);
  },
  lower(node, context) {
    const problem = withExpansion(problemOf(node, context));
    const { heads, latentDim, nopeDim, ropeDim } = node.attrs;
    const { splits, unit, expansion } = problem;
    context.note(`latent attention, ${unit} heads a workgroup, the context in ${splits} shares`);
    const rows = (name: string, width: number) => scratchRows(name, context.tokens.max, width);
    const ready = rows("ready", heads * (latentDim + ropeDim));
    const turned = expansion && rows("turned", heads * (nopeDim + ropeDim));
    const partials = rows("partials", heads * splits * (latentDim + 2));
    return [
      ...(expansion ? [planDispatch(problem, expansion)] : []),
      ...queryDispatches(problem, ready, turned),
      ...(expansion && turned ? expandedDispatches(problem, expansion, turned) : []),
      attendDispatch(problem, ready, partials),
      raiseDispatch(problem, partials),
    ];
  },
});

/** The problem with what is expanded of it, which the report says. */
function withExpansion(problem: MlaProblem): MlaProblem {
  const expansion = expansionOf(problem);
  if (!expansion) return problem;
  const { least, sure, rows, stretches, format } = expansion;
  const mebibytes = (stretchBytes(problem, expansion) / 2 ** 20).toFixed(1);
  problem.context.note(
    `expanded form for sequences with ${least} tokens or more in a step` +
      (sure > least ? ` where it is less arithmetic, which it is from ${sure} on` : "") +
      `: keys and values of ${rows} tokens at a time in ${format}, ${mebibytes} MiB, ` +
      `for up to ${stretches * rows} tokens of contexts in a step`,
  );
  return { ...problem, expansion };
}
