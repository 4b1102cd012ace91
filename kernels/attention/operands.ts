/**
 * What the kernels of `cached_attention` share: sizes, inputs, and the fragments that depend on
 * the model's attributes.
 *
 * @module
 */

import {
  type AttrsOf,
  type CacheDtype,
  input,
  type Node,
  optionalInput,
  type Value,
} from "../../graph/mod.ts";
import { type Access, constants, fragments, joinAccess, reads, writes } from "../access/access.ts";
import chunk from "../access/chunk.wgsl" with { type: "text" };
import { STEP } from "../access/extent.ts";
import loadF16 from "../access/load_f16.wgsl" with { type: "text" };
import loadF32 from "../access/load_f32.wgsl" with { type: "text" };
import { operandAccess } from "../access/operand.ts";
import roundE4m3 from "../access/round_e4m3.wgsl" with { type: "text" };
import {
  f32Bound,
  f32Literal,
  instantiate,
  LOWEST,
  LOWEST_F32,
  type ShaderConstants,
} from "../compose.ts";
import type { CacheBuffer, LoweringContext, Scratch } from "../kernel.ts";
import cacheE4m3 from "./cache_e4m3.wgsl" with { type: "text" };
import cacheF16 from "./cache_f16.wgsl" with { type: "text" };
import cacheF32 from "./cache_f32.wgsl" with { type: "text" };
import roundingE4m3 from "./cache_rounding_e4m3.wgsl" with { type: "text" };
import roundingF16 from "./cache_rounding_f16.wgsl" with { type: "text" };
import roundingF32 from "./cache_rounding_f32.wgsl" with { type: "text" };
import clipText from "./clip.wgsl" with { type: "text" };
import clipNone from "./clip_none.wgsl" with { type: "text" };
import cosSin from "./cos_sin.wgsl" with { type: "text" };
import fusedSource from "./fused.wgsl" with { type: "text" };
import headElements from "./head.wgsl" with { type: "text" };
import loadE4m3 from "./load_cache_e4m3.wgsl" with { type: "text" };
import normAll from "./norm_all.wgsl" with { type: "text" };
import normHead from "./norm_head.wgsl" with { type: "text" };
import normNone from "./norm_none.wgsl" with { type: "text" };
import paging from "./paging.wgsl" with { type: "text" };
import prepareReady from "./prepare_ready.wgsl" with { type: "text" };
import ropeHalf from "./rope_half.wgsl" with { type: "text" };
import ropeInterleaved from "./rope_interleaved.wgsl" with { type: "text" };
import ropeNone from "./rope_none.wgsl" with { type: "text" };
import splitSource from "./split.wgsl" with { type: "text" };

/** Neighbouring tokens of one sequence from which tiles of queries pay. */
const LONG_RUN = 8;

/** How a cache is bound, read and written, and what a number is after a way through it. */
const CACHE_FORMATS: Readonly<
  Record<CacheDtype, { element: string; load: string; store: string; rounding: readonly string[] }>
> = {
  f32: { element: "vec4<u32>", load: loadF32, store: cacheF32, rounding: [roundingF32] },
  f16: { element: "vec4<u32>", load: loadF16, store: cacheF16, rounding: [roundingF16] },
  f8_e4m3: {
    element: "vec2<u32>",
    load: loadE4m3,
    store: cacheE4m3,
    rounding: [roundE4m3, roundingE4m3],
  },
};

/** The node with what lowering asks of it again and again. */
export interface AttentionProblem {
  readonly node: Node<"cached_attention">;
  readonly attrs: AttrsOf<"cached_attention">;
  readonly cacheFormat: CacheDtype;
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
export function sizeConstants({ attrs, context: { pageSize } }: AttentionProblem): ShaderConstants {
  const { heads, kvHeads, headDim, window, scale } = attrs;
  return {
    HEADS: heads,
    GROUP: heads / kvHeads,
    D: headDim,
    ...pagingConstants({ kvHeads, window, pageSize }).constants,
    SCALE: f32Literal(scale, "a scale of attention"),
    LOWEST,
  };
}

/** Constants of the way from positions to rows of the cache. */
export function pagingConstants(
  { kvHeads, window, pageSize }: {
    readonly kvHeads: number;
    readonly window: number | undefined;
    readonly pageSize: number;
  },
): Access {
  return constants({
    KV_HEADS: kvHeads,
    PAGE: pageSize,
    // Beyond the largest u32 a window is as wide as any sequence.
    WINDOW: Math.min(window ?? 0, 2 ** 32 - 1),
    LONG_RUN,
  });
}

/** The step's positions and the way from them to rows of the cache. */
export function pagingAccess({ node }: AttentionProblem): Access {
  const names = ["positions", "sequence_ids", "block_table"];
  return joinAccess(
    ...names.map((name) => reads(name, "i32", input(node, name))),
    STEP,
    fragments(paging),
  );
}

/** q, k and v of the step as the projections left them, and their way through norm, clip and RoPE. */
export function sourceAccess({ node, attrs }: AttentionProblem): Access {
  const { qkNorm, rope, clip, valueNorm, heads, kvHeads, headDim, keysAreValues } = attrs;
  const names = node.inputs.qkv ? ["qkv"] : ["q", "k", "v"];
  return joinAccess(
    ...names.map((name) => reads(name, "vec4<f32>", input(node, name))),
    ropeAccess(rope, optionalInput(node, "inv_freq")),
    normAccess("q", node, qkNorm?.over),
    normAccess("k", node, qkNorm?.over),
    fragments(
      node.inputs.qkv ? fusedSource : splitSource,
      clip === undefined ? clipNone : clipText,
      instantiate(headElements, { NAME: "q" }),
      instantiate(headElements, { NAME: "k" }),
    ),
    constants({
      NORM: qkNorm !== undefined,
      NORM_ALL: qkNorm?.over === "all",
      EPS: f32Literal(qkNorm?.eps ?? 0, "an epsilon of norms"),
      ...(node.inputs.qkv && {
        QKV_WIDTH: (heads + (keysAreValues ? 1 : 2) * kvHeads) * headDim,
        V_FIRST: (heads + (keysAreValues ? 0 : kvHeads)) * headDim,
      }),
      VALUE_NORM: valueNorm !== undefined,
      VALUE_EPS: f32Literal(valueNorm?.eps ?? 0, "an epsilon of norms"),
      ...(clip === undefined ? {} : { CLIP: f32Bound(clip) }),
    }),
  );
}

/** Which elements of a head turn with which, and by how much a position. */
function ropeAccess(
  rope: AttrsOf<"cached_attention">["rope"],
  frequencies: Value | undefined,
): Access {
  const text = rope === undefined ? ropeNone : rope.layout === "half" ? ropeHalf : ropeInterleaved;
  return joinAccess(
    ...(frequencies ? [reads("inv_freq", "f32", frequencies)] : []),
    fragments(cosSin, text),
    constants({
      ROTARY: rope?.rotaryDim ?? 0,
      ATTENTION_SCALING: f32Literal(rope?.attentionScaling ?? 1, "a scale of RoPE"),
    }),
  );
}

/** Weights of a norm, by element of a head and by quads: of one head, or of all with `over: "all"`. */
function normAccess(name: string, node: Node, over: "head" | "all" | undefined): Access {
  const weight = optionalInput(node, `${name}_norm`);
  if (!weight) return fragments(instantiate(normNone, { NAME: name }));
  return joinAccess(
    reads(`${name}_norm`, "vec4<f32>", weight),
    fragments(instantiate(over === "all" ? normAll : normHead, { NAME: name })),
  );
}

/** Queries that `attention_append` made. */
export function readyAccess(ready: Scratch | undefined): Access {
  return joinAccess(...(ready ? [reads("ready", "f32", ready)] : []), fragments(prepareReady));
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
  format: CacheDtype,
  access: "read" | "read_write",
): Access {
  return partsAccess(cache, ["keys"], columns, format, access);
}

function partsAccess(
  cache: string,
  parts: readonly CacheBuffer["part"][],
  columns: number,
  format: CacheDtype,
  access: "read" | "read_write",
): Access {
  const bound = parts.map((part) =>
    keptRows(part, columns, format, access, { kind: "cache", cache, part })
  );
  return joinAccess(...bound, fragments(...CACHE_FORMATS[format].rounding));
}

/** Rows of keys or values in a format of caches, wherever they are. */
export function keptRows(
  name: string,
  columns: number,
  format: CacheDtype,
  access: "read" | "read_write",
  buffer: CacheBuffer | Scratch,
): Access {
  const { element, load, store } = CACHE_FORMATS[format];
  const texts = access === "read" ? [load] : [load, store];
  return joinAccess(
    fragments(chunk),
    (access === "read" ? reads : writes)(name, element, buffer),
    fragments(...texts.map((text) => instantiate(text, { NAME: name }))),
    constants({ [`${name}_COLUMNS`]: columns, [`${name}_FIRST_ROW`]: 0 }),
  );
}

/** The sinks' logits; without sinks a logit that no softmax feels. */
export function sinkAccess({ node }: AttentionProblem): Access {
  return operandAccess("sink", optionalInput(node, "sinks"), "numbers", LOWEST_F32);
}
