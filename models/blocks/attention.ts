/**
 * Causal self-attention of eager graphs, with everything that tells one family's from another's.
 *
 * @module
 */

import type { GraphBuilder, Value, Weight } from "../../graph/mod.ts";
import { l2Norm, linear, plainRmsNorm, type Projection, rmsNorm, scaled } from "./basic.ts";
import { applyRotary, type RotarySpec, type RotaryTables } from "./rotary.ts";

/** Norm of q and k. */
export interface QkNorm {
  /** Over each head (Qwen3), or over the whole projection (OLMoE). */
  readonly over: "head" | "all";
  /** Epsilon of the norm. */
  readonly eps: number;
  /** Absent weights: Llama 4's L2 norm. */
  readonly q?: Weight;
  /** Weight of k's norm, as `q`. */
  readonly k?: Weight;
  /** After RoPE (Llama 4, Hunyuan) instead of before it. */
  readonly afterRope?: boolean;
  /** Names of the norms' modules. */
  readonly names?: readonly [string, string];
}

/** Everything that tells one model's attention from another's. */
export interface AttentionSpec {
  /** Query heads. */
  readonly heads: number;
  /** Key and value heads; query heads share them in groups. */
  readonly kvHeads: number;
  /** Elements of a query or key head. */
  readonly headDim: number;
  /** Elements of a value head; default headDim. */
  readonly valueDim?: number;
  /** Factor on q · k; default 1 / √headDim. */
  readonly scale?: number;
  /** [heads · headDim, H] */
  readonly q: Projection;
  /** [kvHeads · headDim, H] */
  readonly k: Projection;
  /** Absent: values are what k's projection gives (Gemma 4). */
  readonly v?: Projection;
  /** Output projection [H, heads · valueDim]. */
  readonly o: Projection;
  /** Name of the output projection's module; default `o_proj`. */
  readonly outputName?: string;
  /** Absent: no position embedding. */
  readonly rotary?: RotarySpec | undefined;
  /** Absent: q and k are not normed. */
  readonly qkNorm?: QkNorm | undefined;
  /** RMSNorm without a weight over each value head (Gemma 4). */
  readonly valueNorm?: { readonly eps: number };
  /** Factor on values (MiMo). */
  readonly valueScale?: number;
  /** q, k and v are clamped to ±clip after the norm (OLMoE's `clip_qkv`). */
  readonly clip?: number;
  /** A token sees this many tokens including itself; undefined means all before it. */
  readonly window?: number | undefined;
  /** A token sees those before it in its own chunk of this many positions (Llama 4). */
  readonly chunk?: number | undefined;
  /** [heads] logits that take part in the softmax and have no value (gpt-oss). */
  readonly sinks?: Weight | undefined;
  /** q times a factor that grows with the position (Llama 4). */
  readonly temperature?: Temperature;
  /** The result is multiplied with it before the output projection. */
  readonly gate?: AttentionGate;
}

/** Factors on what attention makes: a function of a projection of the layer's input. */
export interface AttentionGate {
  /** Name of its module. */
  readonly name: string;
  /** [heads · valueDim, H], or [heads, H] with one factor for each head. */
  readonly weight: Weight;
  /** The function. */
  readonly activation: "sigmoid" | "softplus";
  /** One factor for each head; default false. */
  readonly perHead?: boolean;
}

/** Queries are multiplied with `log(1 + ⌊(position + first) / floor⌋) · scale + 1`. */
export interface Temperature {
  /** How much the logarithm counts. */
  readonly scale: number;
  /** Positions over which the factor stays the same. */
  readonly floor: number;
  /** The number of the first position: 1 in Llama 4. */
  readonly first: number;
}

/** What the attention layers of a step share. */
export interface AttentionContext {
  /** [T, H] normed input. */
  readonly x: Value;
  /** Of the layer's rotary embedding. */
  readonly rotary: RotaryTables | undefined;
  /** [T] */
  readonly positions: Value;
  /** [T, T] additive mask of the layer's window; not needed with sinks. */
  readonly mask: Value | undefined;
  /** [T, 1] factor on queries, of a layer with a temperature. */
  readonly temperature?: Value | undefined;
}

/**
 * An attention layer as the decoder's frame sees it; one without positions and masks may mix tokens in
 * any other causal way (docs/architecture.md, "What is kept between steps").
 */
export interface AttentionBlock {
  /** As in {@linkcode AttentionSpec}: the frame makes the tables. */
  readonly rotary?: RotarySpec | undefined;
  /** As in {@linkcode AttentionSpec}: the frame makes the mask. */
  readonly window?: number | undefined;
  /** As in {@linkcode AttentionSpec}. */
  readonly chunk?: number | undefined;
  /** As in {@linkcode AttentionSpec}. */
  readonly sinks?: Weight | undefined;
  /** As in {@linkcode AttentionSpec}: the frame makes the factors. */
  readonly temperature?: Temperature | undefined;
  /** Adds the nodes of the layer; gives what it adds to the residual, [T, H]. */
  build(b: GraphBuilder, context: AttentionContext): Value;
}

/** Causal self-attention, as transformers' `eager_attention_forward`. */
export function attention(b: GraphBuilder, spec: AttentionSpec, context: AttentionContext): Value {
  const { heads, kvHeads, headDim, valueDim = headDim, gate } = spec;
  const query = project(b, spec, "q", spec.q, context);
  const key = project(b, spec, "k", spec.k, context);
  const q = tempered(b, query.turned, context);
  const made = spec.v
    ? splitHeads(b, clipped(b, linear(b, "v_proj", context.x, spec.v.weight, spec.v.bias), spec), {
      heads: kvHeads,
      dim: valueDim,
    })
    : key.projected;
  const normed = spec.valueNorm ? plainRmsNorm(b, "v_norm", made, spec.valueNorm.eps) : made;
  const v = scaled(b, b.op("transpose", { x: normed }, { dims: [0, 1] }), spec.valueScale ?? 1);
  const mixed = mixTokens(b, spec, { q, k: key.turned, v }, context);
  const merged = b.op("reshape", { x: b.op("transpose", { x: mixed }, { dims: [0, 1] }) }, {
    shape: [context.x.shape[0], heads * valueDim],
  });
  const gated = gate ? gatedHeads(b, merged, context.x, gate, heads) : merged;
  return linear(b, spec.outputName ?? "o_proj", gated, spec.o.weight, spec.o.bias);
}

/** Queries [heads, T, D] or [T, N] times the factors of a layer that has some. */
export function tempered(b: GraphBuilder, q: Value, { temperature }: AttentionContext): Value {
  return temperature ? b.op("mul", { a: q, b: temperature }) : q;
}

/** Heads [T, heads · D] times the gate of their layer's input. */
function gatedHeads(
  b: GraphBuilder,
  merged: Value,
  x: Value,
  { name, weight, activation, perHead = false }: AttentionGate,
  heads: number,
): Value {
  const gate = b.op(activation, { x: linear(b, name, x, weight) });
  if (!perHead) return b.op("mul", { a: merged, b: gate });
  const [tokens, width] = merged.shape;
  const byHead = b.op("reshape", { x: merged }, { shape: [tokens, heads, Number(width) / heads] });
  const times = b.op("mul", { a: byHead, b: b.op("unsqueeze", { x: gate }, { dim: 2 }) });
  return b.op("reshape", { x: times }, { shape: merged.shape });
}

/** q or k: `projected` [T, heads, headDim] as its layer gives it, `turned` [heads, T, headDim]. */
function project(
  b: GraphBuilder,
  spec: AttentionSpec,
  name: "q" | "k",
  { weight, bias }: Projection,
  { x, rotary }: AttentionContext,
) {
  const { heads, kvHeads, headDim, qkNorm } = spec;
  const flat = linear(b, `${name}_proj`, x, weight, bias);
  const all = qkNorm?.over === "all" && !qkNorm.afterRope;
  const before = clipped(b, all ? normed(b, flat, name, qkNorm) : flat, spec);
  const size = { heads: name === "q" ? heads : kvHeads, dim: headDim };
  const projected = splitHeads(b, before, size);
  const head = qkNorm?.over === "head" && !qkNorm.afterRope;
  const each = head ? normed(b, projected, name, qkNorm) : projected;
  const byHead = b.op("transpose", { x: each }, { dims: [0, 1] });
  const turned = rotary ? applyRotary(b, byHead, rotary) : byHead;
  return { projected, turned: qkNorm?.afterRope ? normed(b, turned, name, qkNorm) : turned };
}

function normed(b: GraphBuilder, x: Value, name: "q" | "k", norm: QkNorm): Value {
  const module = norm.names?.[name === "q" ? 0 : 1] ?? `${name}_norm`;
  const weight = norm[name];
  return weight ? rmsNorm(b, module, x, weight, norm.eps) : l2Norm(b, module, x, norm.eps);
}

function clipped(b: GraphBuilder, x: Value, { clip }: AttentionSpec): Value {
  return clip === undefined ? x : b.op("clamp", { x }, { min: -clip, max: clip });
}

function splitHeads(
  b: GraphBuilder,
  x: Value,
  { heads, dim }: { heads: number; dim: number },
): Value {
  return b.op("reshape", { x }, { shape: [x.shape[0], heads, dim] });
}

/** Heads [KH, T, D] repeated for the query heads that share them: [KH · repeats, T, D]. */
export function repeatKeyHeads(b: GraphBuilder, x: Value, repeats: number): Value {
  if (repeats === 1) return x;
  const [heads, tokens, headDim] = x.shape;
  const each = b.op("unsqueeze", { x }, { dim: 1 });
  const expanded = b.op("expand", { x: each }, { shape: [heads, repeats, tokens, headDim] });
  return b.op("reshape", { x: expanded }, { shape: [Number(heads) * repeats, tokens, headDim] });
}

/** The part of a layer that mixing its tokens depends on. */
export type MixSpec = Pick<
  AttentionSpec,
  "heads" | "kvHeads" | "headDim" | "scale" | "window" | "chunk" | "sinks"
>;

/**
 * `softmax(q · kᵀ · scale + mask) · v` over [heads, T, D]. The column that sinks add to the scores
 * has a size of T + 1, which shapes cannot say; with sinks it is one op, as in exports of gpt-oss.
 */
export function mixTokens(
  b: GraphBuilder,
  { heads, kvHeads, headDim, window, chunk, sinks, scale = headDim ** -0.5 }: MixSpec,
  { q, k, v }: { q: Value; k: Value; v: Value },
  { positions, mask }: Pick<AttentionContext, "positions" | "mask">,
): Value {
  if (sinks || !mask) {
    const inputs = { q, k, v, positions, sinks: sinks && b.weight("sinks", sinks) };
    return b.op("attention", inputs, {
      scale,
      ...(window !== undefined && { window }),
      ...(chunk !== undefined && { chunk }),
    });
  }
  const keys = repeatKeyHeads(b, k, heads / kvHeads);
  const values = repeatKeyHeads(b, v, heads / kvHeads);
  const products = b.op("matmul", { a: q, b: b.op("transpose", { x: keys }, { dims: [1, 2] }) });
  const times = b.op("mul", { a: products, b: b.scalar(scale) });
  const masked = b.op("add", { a: times, b: mask });
  return b.op("matmul", { a: b.op("softmax", { x: masked }, { dim: -1 }), b: values });
}
