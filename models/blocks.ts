/**
 * Building blocks of eager graphs: the same plain operations, in the same order, as transformers'
 * modelling code. Transforms recognise these forms; keep them plain.
 *
 * @module
 */

import { constant, type GraphBuilder, type Value, type Weight } from "../graph/mod.ts";
import type { RopeFrequencies } from "./rope.ts";

/** RMSNorm over the last dimension: `w · (x · rsqrt(mean(x²) + eps))`. */
export function rmsNorm(b: GraphBuilder, name: string, x: Value, weight: Weight, eps: number) {
  return b.within(name, () => {
    const variance = b.op("mean", { x: b.op("pow", { x }, { exponent: 2 }) }, {
      dim: -1,
      keepdim: true,
    });
    const scale = b.op("rsqrt", { x: b.op("add", { a: variance, b: b.scalar(eps) }) });
    const normed = b.op("mul", { a: x, b: scale });
    return b.op("mul", { a: b.weight("weight", weight), b: normed });
  });
}

/** `x · wᵀ + bias` in a scope of its own. */
export function linear(b: GraphBuilder, name: string, x: Value, weight: Weight, bias?: Weight) {
  return b.within(name, () =>
    b.op("linear", {
      x,
      w: b.weight("weight", weight),
      bias: bias && b.weight("bias", bias),
    }));
}

/** cos and sin [T, rotaryDim] of every position, each frequency for both halves of a head. */
export interface RotaryTables {
  readonly cos: Value;
  readonly sin: Value;
  readonly rotaryDim: number;
}

/** Angles of all positions: `cos(concat(p · f, p · f)) · scaling`. */
export function rotaryTables(
  b: GraphBuilder,
  positions: Value,
  { inverse, attentionScaling, rotaryDim }: RopeFrequencies,
): RotaryTables {
  return b.within("rotary_emb", () => {
    const column = b.op("unsqueeze", { x: b.op("cast", { x: positions }, { dtype: "f32" }) }, {
      dim: 1,
    });
    const frequencies = b.weight("inv_freq", constant(inverse));
    const half = b.op("mul", { a: column, b: frequencies });
    const angles = b.op("concat", { xs: [half, half] }, { dim: -1 });
    const scaling = b.scalar(attentionScaling);
    return {
      cos: b.op("mul", { a: b.op("cos", { x: angles }), b: scaling }),
      sin: b.op("mul", { a: b.op("sin", { x: angles }), b: scaling }),
      rotaryDim,
    };
  });
}

/** `x · cos + rotate_half(x) · sin` for x [heads, T, D]; elements after rotaryDim pass. */
export function applyRotary(b: GraphBuilder, x: Value, { cos, sin, rotaryDim }: RotaryTables) {
  const headDim = Number(x.shape[2]);
  const part = (of: Value, start: number, end: number) =>
    b.op("slice", { x: of }, { dim: -1, start, end });
  const turning = rotaryDim === headDim ? x : part(x, 0, rotaryDim);
  const first = part(turning, 0, rotaryDim / 2);
  const second = part(turning, rotaryDim / 2, rotaryDim);
  const rotated = b.op("concat", { xs: [b.op("neg", { x: second }), first] }, { dim: -1 });
  const turned = b.op("add", {
    a: b.op("mul", { a: turning, b: cos }),
    b: b.op("mul", { a: rotated, b: sin }),
  });
  return rotaryDim === headDim
    ? turned
    : b.op("concat", { xs: [turned, part(x, rotaryDim, headDim)] }, { dim: -1 });
}

/** Heads [KH, T, D] repeated for the query heads that share them: [KH · repeats, T, D]. */
export function repeatKeyHeads(b: GraphBuilder, x: Value, repeats: number): Value {
  if (repeats === 1) return x;
  const [heads, tokens, headDim] = x.shape;
  const each = b.op("unsqueeze", { x }, { dim: 1 });
  const expanded = b.op("expand", { x: each }, { shape: [heads, repeats, tokens, headDim] });
  return b.op("reshape", { x: expanded }, { shape: [Number(heads) * repeats, tokens, headDim] });
}

/** A projection with an optional bias. */
export interface Projection {
  readonly weight: Weight;
  readonly bias?: Weight;
}

/** Everything that tells one model's attention from another's. */
export interface AttentionSpec {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Factor on q · k; default 1 / √headDim. */
  readonly scale?: number;
  readonly q: Projection;
  readonly k: Projection;
  readonly v: Projection;
  readonly o: Projection;
  /** RMSNorm of q and k: over each head (Qwen3), or over the whole projection (OLMoE). */
  readonly qkNorm?: {
    readonly over: "head" | "all";
    readonly q: Weight;
    readonly k: Weight;
    readonly eps: number;
  };
  /** q, k and v are clamped to ±clip after the norm (OLMoE's `clip_qkv`). */
  readonly clip?: number;
  /** A token sees this many tokens including itself; undefined means all before it. */
  readonly window?: number;
  /** [heads] logits that take part in the softmax and have no value (gpt-oss). */
  readonly sinks?: Weight;
}

/** What the attention layers of a step share. */
export interface AttentionContext {
  /** [T, H] normed input. */
  readonly x: Value;
  readonly rotary: RotaryTables;
  /** [T] */
  readonly positions: Value;
  /** [T, T] additive mask of the layer's window; not needed with sinks. */
  readonly mask: Value | undefined;
}

/** Causal self-attention with rotary embedding, as transformers' `eager_attention_forward`. */
export function attention(b: GraphBuilder, spec: AttentionSpec, context: AttentionContext): Value {
  const { heads, kvHeads, headDim, qkNorm } = spec;
  return b.within("self_attn", () => {
    const project = (name: string, { weight, bias }: Projection, norm?: Weight) => {
      const projected = linear(b, `${name}_proj`, context.x, weight, bias);
      const normed = norm && qkNorm?.over === "all"
        ? rmsNorm(b, `${name}_norm`, projected, norm, qkNorm.eps)
        : projected;
      const clipped = spec.clip === undefined
        ? normed
        : b.op("clamp", { x: normed }, { min: -spec.clip, max: spec.clip });
      const split = splitHeads(b, clipped, name === "q" ? heads : kvHeads, headDim);
      const each = norm && qkNorm?.over === "head"
        ? rmsNorm(b, `${name}_norm`, split, norm, qkNorm.eps)
        : split;
      return b.op("transpose", { x: each }, { dims: [0, 1] });
    };
    const q = applyRotary(b, project("q", spec.q, qkNorm?.q), context.rotary);
    const k = applyRotary(b, project("k", spec.k, qkNorm?.k), context.rotary);
    const v = project("v", spec.v);
    const mixed = mixTokens(b, spec, { q, k, v }, context);
    const merged = b.op("reshape", { x: b.op("transpose", { x: mixed }, { dims: [0, 1] }) }, {
      shape: [context.x.shape[0], heads * headDim],
    });
    return linear(b, "o_proj", merged, spec.o.weight, spec.o.bias);
  });
}

function splitHeads(b: GraphBuilder, x: Value, heads: number, headDim: number): Value {
  return b.op("reshape", { x }, { shape: [x.shape[0], heads, headDim] });
}

/**
 * `softmax(q · kᵀ · scale + mask) · v` over [heads, T, D]. The column that sinks add to the scores
 * has a size of T + 1, which shapes cannot say; with sinks it is one op, as in exports of gpt-oss.
 */
function mixTokens(
  b: GraphBuilder,
  { heads, kvHeads, headDim, window, sinks, scale = headDim ** -0.5 }: AttentionSpec,
  { q, k, v }: { q: Value; k: Value; v: Value },
  { positions, mask }: AttentionContext,
): Value {
  if (sinks || !mask) {
    const inputs = { q, k, v, positions, sinks: sinks && b.weight("sinks", sinks) };
    return b.op("attention", inputs, window === undefined ? { scale } : { scale, window });
  }
  const keys = repeatKeyHeads(b, k, heads / kvHeads);
  const values = repeatKeyHeads(b, v, heads / kvHeads);
  const products = b.op("matmul", { a: q, b: b.op("transpose", { x: keys }, { dims: [1, 2] }) });
  const scaled = b.op("mul", { a: products, b: b.scalar(scale) });
  const masked = b.op("add", { a: scaled, b: mask });
  return b.op("matmul", { a: b.op("softmax", { x: masked }, { dim: -1 }), b: values });
}
