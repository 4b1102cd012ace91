/**
 * `cached_mla_attention` in the absorbed form: queries are taken to the latents, whose cache is read
 * once for keys and values, and the mixed latents become values of each head at the end.
 *
 * @module
 */

import {
  type AttrsOf,
  input,
  type Node,
  optionalInput,
  type WeightFormat,
} from "../../../graph/mod.ts";
import {
  type Access,
  constants,
  fragments,
  joinAccess,
  reads,
  type WeightSpec,
  writes,
} from "../../access/access.ts";
import { STEP } from "../../access/extent.ts";
import { weightAccess } from "../../access/weights.ts";
import { f32Literal, LOWEST } from "../../compose.ts";
import { composeDispatch } from "../../dispatch.ts";
import { defineKernel, type Dispatch, type LoweringContext, type Scratch } from "../../kernel.ts";
import { scratchRows, unreadableWeight } from "../../linear/linear.ts";
import { reductionAccess } from "../../reduce/reduction.ts";
import cosSin from "../cos_sin.wgsl" with { type: "text" };
import { type CacheFormat, keysAccess } from "../operands.ts";
import paging from "../paging.wgsl" with { type: "text" };
import ropeHalf from "../rope_half.wgsl" with { type: "text" };
import ropeInterleaved from "../rope_interleaved.wgsl" with { type: "text" };
import attendBody from "./attend.wgsl" with { type: "text" };
import prepareBody from "./prepare.wgsl" with { type: "text" };
import raiseBody from "./raise.wgsl" with { type: "text" };

/** Invocations of a workgroup, and keys of a tile. */
const INVOCATIONS = 128;
/** Heads whose sums an invocation holds at a time. */
const MAX_UNIT = 4;
/** Workgroups that keep a large GPU busy. */
const WANTED_WORKGROUPS = 264;
const MAX_SPLITS = 32;

interface Problem {
  readonly node: Node<"cached_mla_attention">;
  readonly attrs: AttrsOf<"cached_mla_attention">;
  readonly weight: WeightSpec;
  readonly cacheFormat: CacheFormat;
  readonly context: LoweringContext;
  /** Words of 8 numbers of a latent. */
  readonly words: number;
  readonly unit: number;
  readonly splits: number;
}

function problemOf(
  node: Node<"cached_mla_attention">,
  context: LoweringContext,
): Problem {
  const { heads, latentDim, cache } = node.attrs;
  const w = input(node, "w");
  const unit = [MAX_UNIT, 2, 1].find((count) => heads % count === 0) ?? 1;
  const units = (heads / unit) * context.tokens.max;
  const splits = Math.max(1, Math.min(MAX_SPLITS, Math.floor(WANTED_WORKGROUPS / units)));
  return {
    node,
    attrs: node.attrs,
    weight: { format: w.dtype as WeightFormat, payload: w, columns: latentDim },
    cacheFormat: context.cacheDtype(cache),
    context,
    words: Math.ceil(latentDim / 8),
    unit,
    splits: context.profile.software ? 1 : splits,
  };
}

/** Constants that all three kernels share. */
function constantsOf({ attrs, context, words, splits }: Problem) {
  const { heads, nopeDim, ropeDim, valueDim, latentDim } = attrs;
  return {
    ...{ HEADS: heads, N: nopeDim, R: ropeDim, V: valueDim, L: latentDim },
    ...{ D: latentDim + ropeDim, KV_HEADS: 1, PAGE: context.pageSize, WINDOW: 0, LONG_RUN: 1 },
    ...{ WORDS: words, SPLITS: splits, INVOCATIONS, LOWEST },
  };
}

/** Invocations that share a word, so that none is idle: a power of two. */
function teamsOf(words: number): number {
  let teams = 1;
  while (2 * teams * words <= INVOCATIONS) teams *= 2;
  return teams;
}

function stepAccess({ node }: Problem): Access {
  const names = ["positions", "sequence_ids", "block_table"];
  return joinAccess(
    ...names.map((name) => reads(name, "i32", input(node, name))),
    STEP,
    fragments(paging),
  );
}

function prepareDispatch(problem: Problem, ready: Scratch): Dispatch {
  const { node, attrs, context, weight, cacheFormat, words } = problem;
  return composeDispatch({
    kernel: "mla_prepare",
    accesses: [
      stepAccess(problem),
      weightAccess("w", weight),
      keysAccess(attrs.cache, attrs.latentDim + attrs.ropeDim, cacheFormat, "read_write"),
      constants({
        ...constantsOf(problem),
        PARTS: teamsOf(words),
        EPS: f32Literal(attrs.eps, "an epsilon of norms"),
        ROTARY: attrs.rope.rotaryDim,
        ATTENTION_SCALING: f32Literal(attrs.rope.attentionScaling, "a scale of RoPE"),
        SUMS: 1,
      }),
      ...["q", "kv", "kv_norm", "inv_freq"].map((name) => reads(name, "f32", input(node, name))),
      writes("ready", "f32", ready),
      fragments(cosSin, attrs.rope.layout === "half" ? ropeHalf : ropeInterleaved),
      reductionAccess(context.profile, [{ name: "sum", slots: "SUMS", operation: "add" }]),
    ],
    body: prepareBody,
    workgroups: ({ T }) => [T, attrs.heads + 1, 1],
  });
}

function attendDispatch(problem: Problem, ready: Scratch, partials: Scratch): Dispatch {
  const { attrs, context, cacheFormat, words, unit, splits } = problem;
  return composeDispatch({
    kernel: "mla_attend",
    accesses: [
      stepAccess(problem),
      keysAccess(attrs.cache, attrs.latentDim + attrs.ropeDim, cacheFormat, "read"),
      constants({
        ...constantsOf(problem),
        UNIT: unit,
        TEAMS: teamsOf(words),
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

function raiseDispatch(problem: Problem, partials: Scratch): Dispatch {
  const { node, attrs, weight } = problem;
  return composeDispatch({
    kernel: "mla_raise",
    accesses: [
      weightAccess("w", weight),
      constants(constantsOf(problem)),
      reads("partials", "f32", partials),
      writes("y", "f32", node.outputs[0]),
    ],
    body: raiseBody,
    workgroups: ({ T }) => [T, attrs.heads, 1],
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
    if (Math.ceil(latentDim / 8) > INVOCATIONS) return `takes latents of up to ${8 * INVOCATIONS}`;
    const bytes = 4 * (MAX_UNIT * (latentDim + ropeDim + 3 * INVOCATIONS) + 9 * INVOCATIONS);
    if (bytes > profile.maxWorkgroupStorageBytes) return "needs more workgroup memory";
    if (optionalInput(node, "kv_norm")?.dtype !== "f32") return "takes a norm of f32";
    return unreadableWeight(input(node, "w"));
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
      prepareDispatch(problem, ready),
      attendDispatch(problem, ready, partials),
      raiseDispatch(problem, partials),
    ];
  },
});
