/**
 * `cached_attention` for heads of any size, values of another size than keys, and chunks: one token and
 * head a workgroup. The kernel of `cached_attention.ts` serves what it can, faster.
 *
 * @module
 */

import { input, type Node, optionalInput } from "../../../graph/mod.ts";
import {
  type Access,
  constants,
  fragments,
  joinAccess,
  reads,
  writes,
} from "../../access/access.ts";
import { f32Bound, f32Literal, LOWEST } from "../../compose.ts";
import { composeDispatch } from "../../dispatch.ts";
import { defineKernel, type Dispatch, type LoweringContext, type Scratch } from "../../kernel.ts";
import { scratchRows } from "../../linear/linear.ts";
import { reductionAccess } from "../../reduce/reduction.ts";
import clipText from "../clip.wgsl" with { type: "text" };
import clipNone from "../clip_none.wgsl" with { type: "text" };
import cosSin from "../cos_sin.wgsl" with { type: "text" };
import {
  type AttentionProblem,
  pagingAccess,
  problemOf,
  sinkAccess,
  sizeConstants,
} from "../operands.ts";
import ropeHalf from "../rope_half.wgsl" with { type: "text" };
import ropeInterleaved from "../rope_interleaved.wgsl" with { type: "text" };
import ropeNone from "../rope_none.wgsl" with { type: "text" };
import appendBody from "./append.wgsl" with { type: "text" };
import attendBody from "./attend.wgsl" with { type: "text" };
import { cellAccess, packOf } from "./cells.ts";

/** Invocations of a workgroup, for heads and for tiles of keys. */
const INVOCATIONS = 128;

/** Constants of both kernels. */
function constantsOf(problem: AttentionProblem) {
  const { headDim, valueDim = headDim, chunk } = problem.attrs;
  return {
    ...sizeConstants(problem),
    V: valueDim,
    CHUNK: Math.min(chunk ?? 0, 2 ** 32 - 1),
    INVOCATIONS,
  };
}

/** q, k and v as the projections left them: `raw_at(part, token, i)`. */
function sourceAccess({ node, attrs }: AttentionProblem): Access {
  const { heads, kvHeads, headDim, valueDim = headDim, keysAreValues = false } = attrs;
  const widths = [heads * headDim, kvHeads * headDim, kvHeads * valueDim];
  const fused = node.inputs.qkv !== undefined;
  const names = fused ? ["qkv"] : ["q", "k", "v"];
  const all = widths.slice(0, keysAreValues ? 2 : 3).reduce((sum, width) => sum + width, 0);
  const places = widths.map((width, part) => {
    const before = keysAreValues ? Math.min(part, 1) : part;
    const first = widths.slice(0, before).reduce((sum, each) => sum + each, 0);
    return fused ? `qkv[token * ${all}u + ${first}u + i]` : `${names[part]}[token * ${width}u + i]`;
  });
  return joinAccess(
    ...names.map((name) => reads(name, "f32", input(node, name))),
    fragments(
      `fn raw_at(part: u32, token: u32, i: u32) -> f32 {
  if (part == 0u) {
    return ${places[0]};
  }
  if (part == 1u) {
    return ${places[1]};
  }
  return ${places[2]};
}`,
    ),
  );
}

/** Norm, clip and RoPE of queries and keys. */
function shapingAccess({ node, attrs }: AttentionProblem): Access {
  const { qkNorm, rope, clip, valueNorm } = attrs;
  const frequencies = optionalInput(node, "inv_freq");
  const at = qkNorm?.over === "all" ? "head * D + d" : "d";
  const weight = (name: string) => optionalInput(node, name) ? `${name}[${at}]` : "1.0";
  const norms = ["q_norm", "k_norm"].filter((name) => optionalInput(node, name));
  const names = [...norms, ...(frequencies ? ["inv_freq"] : [])];
  return joinAccess(
    ...names.map((name) => reads(name, "f32", input(node, name))),
    fragments(
      `fn norm_at(part: u32, head: u32, d: u32) -> f32 {
  if (part == 0u) {
    return ${weight("q_norm")};
  }
  if (part == 1u) {
    return ${weight("k_norm")};
  }
  return 1.0;
}`,
      clip === undefined ? clipNone : clipText,
      cosSin,
      rope === undefined ? ropeNone : rope.layout === "half" ? ropeHalf : ropeInterleaved,
    ),
    constants({
      ROTARY: rope?.rotaryDim ?? 0,
      ATTENTION_SCALING: f32Literal(rope?.attentionScaling ?? 1, "a scale of RoPE"),
      NORM: qkNorm !== undefined,
      NORM_ALL: qkNorm?.over === "all",
      EPS: f32Literal(qkNorm?.eps ?? 0, "an epsilon of norms"),
      VALUE_NORM: valueNorm !== undefined,
      VALUE_EPS: f32Literal(valueNorm?.eps ?? 0, "an epsilon of norms"),
      ...(clip === undefined ? {} : { CLIP: f32Bound(clip) }),
    }),
  );
}

function appendDispatch(problem: AttentionProblem, ready: Scratch): Dispatch {
  const { attrs, cacheFormat, context: { profile } } = problem;
  const heads = attrs.heads + 2 * attrs.kvHeads;
  return composeDispatch({
    kernel: "attention_append_general",
    accesses: [
      pagingAccess(problem),
      sourceAccess(problem),
      shapingAccess(problem),
      cellAccess(attrs.cache, ["keys", "values"], cacheFormat, "read_write"),
      constants({ ...constantsOf(problem), SUMS: 1 }),
      writes("ready", "f32", ready),
      reductionAccess(profile, [{ name: "sum", slots: "SUMS", operation: "add" }]),
    ],
    body: appendBody,
    workgroups: ({ T }) => [T, heads, 1],
  });
}

function attendDispatch(problem: AttentionProblem, ready: Scratch): Dispatch {
  const { node, attrs, cacheFormat, context: { profile } } = problem;
  const { headDim, valueDim = headDim } = attrs;
  return composeDispatch({
    kernel: "attention_general",
    accesses: [
      pagingAccess(problem),
      cellAccess(attrs.cache, ["keys", "values"], cacheFormat, "read"),
      sinkAccess(problem),
      constants({
        ...constantsOf(problem),
        ROUNDS: Math.ceil(valueDim / INVOCATIONS),
        LOWEST,
      }),
      reads("ready", "f32", ready),
      writes("y", "f32", node.outputs[0]),
      reductionAccess(profile, [
        { name: "peak", slots: 1, operation: "max" },
        { name: "total", slots: 1, operation: "add" },
      ]),
    ],
    body: attendBody,
    workgroups: ({ T }) => [T, attrs.heads, 1],
  });
}

/** `cached_attention` where `cached_attention.ts` refuses. */
export const generalAttention = defineKernel({
  name: "general_attention",
  op: "cached_attention",
  summary:
    "heads of any size, values of another size than keys, chunks: a workgroup a token and head",
  refuse(node, context) {
    const { headDim, valueDim = headDim, cache } = node.attrs;
    const pack = packOf(context.cacheDtype(cache));
    const odd = [headDim, valueDim].find((size) => size % pack !== 0);
    return odd === undefined
      ? undefined
      : `takes heads that are multiples of ${pack} with this cache, not ${odd}`;
  },
  lower(node: Node<"cached_attention">, context: LoweringContext) {
    const problem = problemOf(node, context);
    const { heads, headDim } = node.attrs;
    context.note("general attention: append, then one token and head a workgroup");
    const ready = scratchRows("ready", context.tokens.max, heads * headDim);
    return [appendDispatch(problem, ready), attendDispatch(problem, ready)];
  },
});
