/**
 * What the kernels of `cached_attention` share: sizes, inputs, and the fragments that depend on
 * the model's attributes.
 *
 * @module
 */

import { type AttrsOf, input, type Node, optionalInput } from "../../graph/mod.ts";
import {
  f32Bound,
  f32Literal,
  instantiate,
  LOWEST,
  type ShaderBuffer,
  type ShaderConstants,
} from "../compose.ts";
import type { Access } from "../access/access.ts";
import type { CacheBuffer, LoweringContext, Scratch } from "../kernel.ts";
import chunk from "../access/chunk.wgsl" with { type: "text" };
import fusedSource from "./fused.wgsl" with { type: "text" };
import headElements from "./head.wgsl" with { type: "text" };
import paging from "./paging.wgsl" with { type: "text" };
import prepareReady from "./prepare_ready.wgsl" with { type: "text" };
import ropeHalf from "./rope_half.wgsl" with { type: "text" };
import ropeInterleaved from "./rope_interleaved.wgsl" with { type: "text" };
import ropeNone from "./rope_none.wgsl" with { type: "text" };
import splitSource from "./split.wgsl" with { type: "text" };
import cacheE4m3 from "./cache_e4m3.wgsl" with { type: "text" };
import cacheF16 from "./cache_f16.wgsl" with { type: "text" };
import cacheF32 from "./cache_f32.wgsl" with { type: "text" };
import roundingE4m3 from "./cache_rounding_e4m3.wgsl" with { type: "text" };
import roundingF16 from "./cache_rounding_f16.wgsl" with { type: "text" };
import roundingF32 from "./cache_rounding_f32.wgsl" with { type: "text" };
import loadE4m3 from "./load_cache_e4m3.wgsl" with { type: "text" };
import loadF16 from "../access/load_f16.wgsl" with { type: "text" };
import loadF32 from "../access/load_f32.wgsl" with { type: "text" };
import roundE4m3 from "../access/round_e4m3.wgsl" with { type: "text" };
import turn from "./turn.wgsl" with { type: "text" };
import { STEP_BUFFER } from "../access/extent.ts";

/** Neighbouring tokens of one sequence from which tiles of queries pay. */
const LONG_RUN = 8;

/** Formats of a cache that the kernels read and write. */
export type CacheFormat = "f32" | "f16" | "f8_e4m3";

/** How a cache is bound, read and written, and what a number is after a way through it. */
const CACHE_FORMATS: Readonly<
  Record<CacheFormat, { type: string; load: string; put: string; rounding: readonly string[] }>
> = {
  f32: { type: "array<vec4<u32>>", load: loadF32, put: cacheF32, rounding: [roundingF32] },
  f16: { type: "array<vec4<u32>>", load: loadF16, put: cacheF16, rounding: [roundingF16] },
  f8_e4m3: {
    type: "array<vec2<u32>>",
    load: loadE4m3,
    put: cacheE4m3,
    rounding: [roundE4m3, roundingE4m3],
  },
};

/** The node with what lowering asks of it again and again. */
export interface AttentionProblem {
  readonly node: Node<"cached_attention">;
  readonly attrs: AttrsOf<"cached_attention">;
  readonly cacheFormat: CacheFormat;
  readonly context: LoweringContext;
}

/** The problem of a node. */
export function problemOf(
  node: Node<"cached_attention">,
  context: LoweringContext,
): AttentionProblem {
  const cacheFormat = context.cacheDtype(node.attrs.cache);
  return { node, attrs: node.attrs, cacheFormat, context };
}

/** Constants of the model and the cache. */
export function sizeConstants({ attrs, context }: AttentionProblem): ShaderConstants {
  const { heads, kvHeads, headDim, window, scale } = attrs;
  return {
    HEADS: heads,
    KV_HEADS: kvHeads,
    GROUP: heads / kvHeads,
    D: headDim,
    PAGE: context.pageSize,
    // Beyond the largest u32 a window is as wide as any sequence.
    WINDOW: Math.min(window ?? 0, 2 ** 32 - 1),
    SCALE: f32Literal(scale, "a scale of attention"),
    LOWEST,
    LONG_RUN,
  };
}

/** The step's positions and the way from them to rows of the cache. */
export function pagingAccess({ node }: AttentionProblem): Access {
  const names = ["positions", "sequence_ids", "block_table"];
  return {
    buffers: [
      ...names.map((name): ShaderBuffer => ({
        name,
        type: "array<i32>",
        access: "read",
        buffer: input(node, name),
      })),
      STEP_BUFFER,
    ],
    fragments: [paging],
    constants: {},
  };
}

/** q, k and v of the step as the projections left them, and their way through norm, clip and RoPE. */
export function sourceAccess({ node, attrs }: AttentionProblem): Access {
  const { qkNorm, rope, clip } = attrs;
  const names = node.inputs.qkv ? ["qkv"] : ["q", "k", "v"];
  const frequencies = optionalInput(node, "inv_freq");
  const buffers = names.map((name): ShaderBuffer => ({
    ...f32Buffer(name, node),
    type: "array<vec4<f32>>",
  }));
  if (frequencies) buffers.push(f32Buffer("inv_freq", node));
  const norms = ["q", "k"].map((name) => normAt(name, node, qkNorm?.over));
  return {
    buffers: [...buffers, ...norms.flatMap((norm) => norm.buffers)],
    fragments: [
      node.inputs.qkv ? fusedSource : splitSource,
      ...norms.flatMap((norm) => norm.fragments),
      clip === undefined
        ? "fn clipped(x: f32) -> f32 {\n  return x;\n}"
        : "fn clipped(x: f32) -> f32 {\n  return clamp(x, -CLIP, CLIP);\n}",
      turn,
      rope === undefined ? ropeNone : rope.layout === "half" ? ropeHalf : ropeInterleaved,
      instantiate(headElements, { NAME: "q" }),
      instantiate(headElements, { NAME: "k" }),
    ],
    constants: {
      ROTARY: rope?.rotaryDim ?? 0,
      ATTENTION_SCALING: f32Literal(rope?.attentionScaling ?? 1, "a scale of RoPE"),
      NORM: qkNorm !== undefined,
      NORM_ALL: qkNorm?.over === "all",
      EPS: f32Literal(qkNorm?.eps ?? 0, "an epsilon of norms"),
      ...(clip === undefined ? {} : { CLIP: f32Bound(clip) }),
    },
  };
}

function f32Buffer(name: string, node: Node): ShaderBuffer {
  return { name, type: "array<f32>", access: "read", buffer: input(node, name) };
}

/** Weights of a norm, by element of a head and by quads: of one head, or of all with `over: "all"`. */
function normAt(name: string, node: Node, over: "head" | "all" | undefined): Access {
  const weight = optionalInput(node, `${name}_norm`);
  const at = over === "all" ? "head * D + d" : "d";
  const element = weight ? `${name}_norm[(${at}) / 4u][(${at}) % 4u]` : "1.0";
  const quad = weight ? `${name}_norm[quad]` : "vec4(1.0)";
  return {
    buffers: weight ? [{ ...f32Buffer(`${name}_norm`, node), type: "array<vec4<f32>>" }] : [],
    fragments: [
      `fn ${name}_norm_at(head: u32, d: u32) -> f32 {\n  return ${element};\n}`,
      `fn ${name}_norm_quad(quad: u32) -> vec4<f32> {\n  return ${quad};\n}`,
    ],
    constants: {},
  };
}

/** Queries that `attention_append` made. */
export function readyAccess(ready: Scratch | undefined): Access {
  return {
    buffers: ready ? [{ name: "ready", type: "array<f32>", access: "read", buffer: ready }] : [],
    fragments: [prepareReady],
    constants: {},
  };
}

/** Keys and values of the cache, read as weights are, and with `read_write` written too. */
export function cacheAccess(
  { attrs, cacheFormat }: AttentionProblem,
  access: "read" | "read_write",
): Access {
  return partsAccess(attrs.cache, ["keys", "values"], attrs.headDim, cacheFormat, access);
}

/** The same of a cache that has keys alone. */
export function keysAccess(
  cache: string,
  columns: number,
  format: CacheFormat,
  access: "read" | "read_write",
): Access {
  return partsAccess(cache, ["keys"], columns, format, access);
}

function partsAccess(
  cache: string,
  parts: readonly CacheBuffer["part"][],
  columns: number,
  format: CacheFormat,
  access: "read" | "read_write",
): Access {
  const { type, load, put, rounding } = CACHE_FORMATS[format];
  return {
    buffers: parts.map((part) => ({
      name: part,
      type,
      access,
      buffer: { kind: "cache", cache, part },
    })),
    fragments: [
      chunk,
      ...parts.flatMap((NAME) =>
        (access === "read" ? [load] : [load, put]).map((text) => instantiate(text, { NAME }))
      ),
      ...rounding,
    ],
    constants: Object.fromEntries(
      parts.flatMap((part) => [[`${part}_COLUMNS`, columns], [`${part}_FIRST_ROW`, 0]]),
    ),
  };
}

/** The sinks' logits; without sinks a logit that no softmax feels. */
export function sinkAccess({ node }: AttentionProblem): Access {
  const sinks = optionalInput(node, "sinks");
  const result = sinks ? "sinks[head]" : "LOWEST";
  return {
    buffers: sinks ? [f32Buffer("sinks", node)] : [],
    fragments: [`fn sink_at(head: u32) -> f32 {\n  return ${result};\n}`],
    constants: {},
  };
}
