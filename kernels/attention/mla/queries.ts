/**
 * The queries of latent attention: made of latents where they are, and taken to the latents of keys
 * and values, whose cache the step's tokens join in the same dispatch.
 *
 * @module
 */

import { input, type Value } from "../../../graph/mod.ts";
import {
  type Access,
  constants,
  fragments,
  joinAccess,
  reads,
  writes,
} from "../../access/access.ts";
import { extentOf } from "../../access/extent.ts";
import { chunkOperand } from "../../access/operand.ts";
import { rowsAccess } from "../../access/rows.ts";
import { weightAccess, weightRowBytes } from "../../access/weights.ts";
import { f32Literal } from "../../compose.ts";
import { composeDispatch } from "../../dispatch.ts";
import type { DeviceProfile, Dispatch, Rows, Scratch } from "../../kernel.ts";
import { wordsOf } from "../../linear/gemv.ts";
import { linearDispatches, scratchRows } from "../../linear/linear.ts";
import { noPartials, ticketPartials } from "../../reduce/partials.ts";
import { laneSum } from "../../reduce/lane_sum.ts";
import { reductionAccess } from "../../reduce/reduction.ts";
import cosSin from "../cos_sin.wgsl" with { type: "text" };
import { keysAccess } from "../operands.ts";
import ropeHalf from "../rope_half.wgsl" with { type: "text" };
import ropeInterleaved from "../rope_interleaved.wgsl" with { type: "text" };
import absorbText from "./absorb.wgsl" with { type: "text" };
import { formAccess } from "./forms.ts";
import latentText from "./latent.wgsl" with { type: "text" };
import plainQueryText from "./plain_query.wgsl" with { type: "text" };
import prepareBody from "./prepare.wgsl" with { type: "text" };
import { groupsOver, type MlaProblem, piecesOfHead, sizeConstants, stepAccess } from "./problem.ts";
import queryBody from "./query.wgsl" with { type: "text" };
import queryNormBody from "./query_norm.wgsl" with { type: "text" };

const INVOCATIONS = 128;
/** Invocations that take a whole head to the latents: as many rows in flight as one can wait for. */
const WIDE_INVOCATIONS = 512;
/** Invocations that share a row of the weight that makes queries. */
const LANES = 32;
/** Rows of the weight that makes keys, and words of the one that makes queries, in flight at a time. */
const MOST_ROWS = 12;
const MOST_WORDS = 6;
/** Words of 8 numbers that are worth a workgroup. */
const LEAST_PIECE = 8;

/**
 * Queries ready for `attend.wgsl`, and in `turned` those of sequences that are expanded; the step's
 * latents are in the cache then.
 */
export function queryDispatches(
  problem: MlaProblem,
  ready: Scratch,
  turned: Scratch | undefined,
): Dispatch[] {
  const { node, attrs, queryWeight, context: { tokens, handOff = "ticket" } } = problem;
  const q = input(node, "q");
  const first = attrs.qFirst ?? 0;
  if (!queryWeight) return [prepareDispatch(problem, ready, q, Number(q.shape[1]), first, turned)];
  if (tokens.max === 1 && first === 0 && handOff === "ticket") {
    return [queryDispatch(problem, queryWeight, ready)];
  }
  const { heads, nopeDim, ropeDim } = attrs;
  const width = heads * (nopeDim + ropeDim);
  const normed = scratchRows("normed", tokens.max, queryWeight.columns);
  const queries = scratchRows("queries", tokens.max, width);
  return [
    normDispatch(problem, queryWeight.columns, normed),
    ...linearDispatches({
      name: "mla_query",
      ...{ x: normed, y: queries, weight: queryWeight, outputs: width },
      rows: extentOf(["T"]),
      largestRows: tokens.max,
      operands: problem.context.operands,
    }, problem.context),
    prepareDispatch(problem, ready, queries, width, 0, turned),
  ];
}

/** The way of a latent into the cache, and of a query to the latents, by so many invocations. */
function preparation(problem: MlaProblem, ready: Scratch, words: number, invocations: number) {
  const { node, attrs, weight, cacheFormat, context: { profile } } = problem;
  const parts = groupsOver(words, invocations, profile);
  const rows = Math.ceil(attrs.nopeDim / parts);
  return joinAccess(
    stepAccess(problem),
    weightAccess("w", weight),
    keysAccess(attrs.cache, attrs.latentDim + attrs.ropeDim, cacheFormat, "read_write"),
    ...["kv", "kv_norm", "inv_freq"].map((name) => reads(name, "f32", input(node, name))),
    constants({
      ...sizeConstants(problem),
      INVOCATIONS: invocations,
      PARTS: parts,
      // A CPU takes seconds to compile what is written out for a GPU.
      UNROLL: Math.min(profile.software ? 1 : MOST_ROWS, rows),
      EPS: f32Literal(attrs.eps, "an epsilon of norms"),
      ROTARY: attrs.rope.rotaryDim,
      ATTENTION_SCALING: f32Literal(attrs.rope.attentionScaling, "a scale of RoPE"),
      KV_WIDTH: Number(input(node, "kv").shape[1]),
      KV_FIRST: attrs.kvFirst ?? 0,
      SUMS: 1,
    }),
    writes("ready", "f32", ready),
    fragments(
      cosSin,
      attrs.rope.layout === "half" ? ropeHalf : ropeInterleaved,
      latentText,
      absorbText,
    ),
    sumAccess(profile),
  );
}

function sumAccess(profile: DeviceProfile): Access {
  return reductionAccess(profile, [{ name: "sum", slots: "SUMS", operation: "add" }]);
}

function prepareDispatch(
  problem: MlaProblem,
  ready: Scratch,
  q: Rows,
  width: number,
  first: number,
  turned: Scratch | undefined,
): Dispatch {
  const { attrs, words, weight, expansion } = problem;
  const piece = Math.ceil(words / piecesOfHead(problem, Math.ceil(words / LEAST_PIECE)));
  const pieces = Math.ceil(words / piece);
  return composeDispatch({
    kernel: "mla_prepare",
    accesses: [
      preparation(problem, ready, piece, INVOCATIONS),
      reads("q", "f32", q),
      constants({ PIECE: piece, PIECES: pieces, Q_WIDTH: width, Q_FIRST: first }),
      formAccess(expansion),
      ...(turned ? [writes("turned", "f32", turned), fragments(plainQueryText)] : []),
    ],
    body: prepareBody,
    workgroups: ({ T }) => [T, attrs.heads * pieces + 1, 1],
    weightBytes: () => attrs.heads * attrs.nopeDim * weightRowBytes(weight.format, weight.columns),
  });
}

/** One token: what makes queries, and what takes them to the latents, in one dispatch. */
function queryDispatch(
  problem: MlaProblem,
  queryWeight: NonNullable<MlaProblem["queryWeight"]>,
  ready: Scratch,
): Dispatch {
  const { node, attrs, words, weight, context: { profile } } = problem;
  const { heads, nopeDim, ropeDim } = attrs;
  const rank = queryWeight.columns;
  const rows = nopeDim + ropeDim;
  const invocations = queryInvocations(rows, profile);
  const groups = invocations / LANES;
  const share = Math.min(rows, groups * (profile.software ? rows : 1));
  const shares = Math.ceil(rows / share);
  const rankWords = wordsOf(queryWeight);
  return composeDispatch({
    kernel: "mla_query",
    accesses: [
      preparation(problem, ready, words, invocations),
      weightAccess("u", queryWeight),
      rowsAccess("x", rank, { buffer: input(node, "q") }),
      chunkOperand("q_norm", rank, input(node, "q_norm"), 1),
      shares === 1
        ? noPartials()
        : ticketPartials({ name: "query numbers", numbers: heads * rows, tickets: heads }),
      constants({
        ...{ LANES, GROUPS: groups, SHARE: share, SHARES: shares },
        RANK_WORDS: profile.software ? 1 : Math.min(MOST_WORDS, Math.ceil(rankWords / LANES)),
        Q_EPS: f32Literal(attrs.qEps ?? 0, "an epsilon of norms"),
      }),
      laneSum(profile, LANES),
    ],
    body: queryBody,
    workgroups: () => [shares, heads + 1, 1],
    weightBytes: () =>
      heads * (rows * weightRowBytes(queryWeight.format, rank) +
        nopeDim * weightRowBytes(weight.format, weight.columns)),
  });
}

/** As many as the device and its workgroup memory allow. */
function queryInvocations(rows: number, profile: DeviceProfile): number {
  let invocations = profile.software ? INVOCATIONS : WIDE_INVOCATIONS;
  const bytes = () => 48 * invocations + 4 * rows + 16;
  const tooMany = () =>
    invocations > profile.maxInvocations || bytes() > profile.maxWorkgroupStorageBytes;
  while (invocations > LANES && tooMany()) invocations /= 2;
  return invocations;
}

/** Norms the latents of queries in front of a product of many rows. */
function normDispatch(problem: MlaProblem, rank: number, normed: Scratch): Dispatch {
  const { node, attrs, context: { profile } } = problem;
  const q: Value = input(node, "q");
  return composeDispatch({
    kernel: "mla_query_norm",
    accesses: [
      reads("q", "f32", q),
      reads("q_norm", "f32", input(node, "q_norm")),
      writes("normed", "f32", normed),
      constants({
        ...{ INVOCATIONS, RANK: rank, Q_WIDTH: Number(q.shape[1]), Q_FIRST: attrs.qFirst ?? 0 },
        Q_EPS: f32Literal(attrs.qEps ?? 0, "an epsilon of norms"),
        SUMS: 1,
      }),
      sumAccess(profile),
    ],
    body: queryNormBody,
    workgroups: ({ T }) => [T, 1, 1],
  });
}
