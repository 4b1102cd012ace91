/**
 * Arithmetic of one attention head, shared by `rope`, `attention` and `cached_attention`.
 *
 * @module
 */

import type { AttentionAttrs, AttrsOf } from "../../graph/mod.ts";
import { dot } from "./linear.ts";

type Floats = Float32Array<ArrayBuffer>;

/**
 * Turns the head that starts at `start`, in place. Angles are rounded to f32 before the cosine, as
 * the models were trained with.
 */
export function turnHead(
  x: Floats,
  start: number,
  position: number,
  invFreq: Floats,
  attrs: AttrsOf<"rope">,
) {
  const { layout, rotaryDim, attentionScaling } = attrs;
  const half = rotaryDim / 2;
  for (let i = 0; i < half; i++) {
    const angle = Math.fround(position * invFreq[i]);
    const cos = Math.cos(angle) * attentionScaling;
    const sin = Math.sin(angle) * attentionScaling;
    const a = start + (layout === "half" ? i : 2 * i);
    const b = start + (layout === "half" ? i + half : 2 * i + 1);
    const u = x[a];
    const v = x[b];
    x[a] = u * cos - v * sin;
    x[b] = v * cos + u * sin;
  }
}

/** What a token sees of those before it. */
export type Sight = Pick<AttentionAttrs, "window" | "chunk">;

/** Position of the first token that the one at `position` sees. */
export function firstSeen(position: number, { window, chunk }: Sight): number {
  const near = window === undefined ? 0 : Math.max(0, position - window + 1);
  return chunk === undefined ? near : Math.max(near, position - position % chunk);
}

/** Keys and values of one head, one after the other in memory: `[tokens, headDim]`. */
export interface HeadCache {
  readonly keys: Floats;
  readonly values: Floats;
  readonly keyDim: number;
  readonly valueDim: number;
}

/** One query head of one token. */
export interface Query {
  readonly values: Floats;
  readonly start: number;
  readonly scale: number;
  /** Logit of the sink, which takes part in the softmax and adds nothing. */
  readonly sink: number | undefined;
}

/** softmax(scale · q · kᵀ) · v over the given rows of the head's keys, into `out` from `to`. */
export function attend(
  query: Query,
  head: HeadCache,
  rows: ArrayLike<number>,
  out: Floats,
  to: number,
) {
  const { keyDim, valueDim } = head;
  const scores = new Float64Array(rows.length);
  let max = query.sink ?? -Infinity;
  for (let i = 0; i < rows.length; i++) {
    scores[i] = query.scale * dot(query.values, query.start, head.keys, rows[i] * keyDim, keyDim);
    max = Math.max(max, scores[i]);
  }
  let total = query.sink === undefined ? 0 : Math.exp(query.sink - max);
  const sums = new Float64Array(valueDim);
  for (let i = 0; i < rows.length; i++) {
    const weight = Math.exp(scores[i] - max);
    total += weight;
    const from = rows[i] * valueDim;
    for (let n = 0; n < valueDim; n++) sums[n] += weight * head.values[from + n];
  }
  for (let n = 0; n < valueDim; n++) out[to + n] = sums[n] / total;
}
