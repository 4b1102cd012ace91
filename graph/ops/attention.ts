/**
 * Positions, masks and attention.
 *
 * @module
 */

import type { NoAttrs } from "./elementwise.ts";
import { expect, type OpInputs, type OpTable, sizeOf } from "./definition.ts";
import type { TensorType } from "../tensor.ts";

/** How a rotary embedding rotates a head. */
export interface RopeAttrs {
  /** `half`: element i rotates with i + D/2 (rotate-half); `interleaved`: 2i with 2i + 1. */
  readonly layout: "half" | "interleaved";
  /** Leading elements of a head that are rotated; the others stay as they are. */
  readonly rotaryDim: number;
  /** Factor on cos and sin (YaRN); 1 otherwise. */
  readonly attentionScaling: number;
}

/** A base that grows with the length of the sequence, beyond the trained one. */
export interface DynamicRope {
  /** How many times longer than the trained length the base is stretched for. */
  readonly factor: number;
  /** The trained length. */
  readonly maxPositions: number;
}

/** Attributes of `attention`. */
export interface AttentionAttrs {
  /** Factor on q · k. */
  readonly scale: number;
  /** A token sees this many tokens including itself; undefined means all before it. */
  readonly window?: number;
  /** A token sees those before it in its own chunk of this many positions; undefined means all. */
  readonly chunk?: number;
}

/** Attributes of `cached_attention`. */
export interface CachedAttentionAttrs extends AttentionAttrs {
  /** Query heads. */
  readonly heads: number;
  /** Key and value heads; query heads share them in groups. */
  readonly kvHeads: number;
  /** Elements of a head of q and k. */
  readonly headDim: number;
  /** Elements of a head of v; absent means headDim. */
  readonly valueDim?: number;
  /** Name of the graph's cache that holds keys (after norm and RoPE) and values. */
  readonly cache: string;
  /** RoPE inside; absent when q and k are rotated already, or have no RoPE. */
  readonly rope?: RopeAttrs;
  /** RMSNorm of q and k inside: over each head, or over all heads together. */
  readonly qkNorm?: { readonly eps: number; readonly over: "head" | "all" };
  /** RMSNorm without weights over each head of v inside (Gemma 4). */
  readonly valueNorm?: { readonly eps: number };
  /** Values are what the projection of keys gives, before norm and RoPE; `qkv` has q and k alone. */
  readonly keysAreValues?: boolean;
  /** q, k and v are clamped to ±clip, q and k after their norm and before RoPE (OLMoE's clip_qkv). */
  readonly clip?: number;
}

/** Attributes of `cached_mla_attention`. */
export interface CachedMlaAttrs {
  /** Query heads. */
  readonly heads: number;
  /** Elements of a query and key head without position. */
  readonly nopeDim: number;
  /** Elements that are rotated; one key of them for all heads. */
  readonly ropeDim: number;
  /** Elements of a value head. */
  readonly valueDim: number;
  /** Elements of the latent that keys and values are made of. */
  readonly latentDim: number;
  /** Factor on q · k. */
  readonly scale: number;
  /** Name of the graph's cache: a token's normed latent and its rotated key, side by side. */
  readonly cache: string;
  /** How `ropeDim` elements of queries and keys are rotated. */
  readonly rope: RopeAttrs;
  /** Epsilon of the RMSNorm of the latent. */
  readonly eps: number;
  /** Columns of q and kv in front of what is meant, where they are parts of a wider value; absent is 0. */
  readonly qFirst?: number;
  /** First column of kv in its value; default 0. */
  readonly kvFirst?: number;
  /** Epsilon of the RMSNorm of the latent of queries; with `q_w` alone. */
  readonly qEps?: number;
  /**
   * Tokens of a sequence in a step from which a kernel makes keys and values of its latents instead of
   * taking queries to them; absent: where that is less arithmetic. Results are the same.
   */
  readonly expandFrom?: number | "never";
}

/** Numbers of the weight that makes queries, where the op has it. */
function queryWeights(inputs: OpInputs): number {
  const weight = inputs.maybe("q_w");
  return weight ? Number(weight.shape[0]) * Number(weight.shape[1]) : 0;
}

function heads(type: TensorType, name: string): void {
  expect(type.shape.length === 3, `${name} [heads, T, headDim]`, type);
}

/** Attributes of the attention ops, by name. */
export type AttentionOps = {
  readonly attention_mask: { window?: number; chunk?: number };
  readonly rope: RopeAttrs;
  readonly sequence_lengths: NoAttrs;
  readonly dynamic_rope: RopeAttrs & DynamicRope;
  readonly attention: AttentionAttrs;
  readonly cached_attention: CachedAttentionAttrs;
  readonly cached_mla_attention: CachedMlaAttrs;
};

/** Attention ops by name. */
export const ATTENTION_OPS: OpTable<AttentionOps> = {
  attention_mask: {
    summary: "additive causal mask [T, T] by position: 0 where a token may attend, -inf elsewhere",
    inputs: ["positions"],
    infer(inputs) {
      const tokens = inputs.get("positions").shape[0];
      return [{ dtype: "f32", shape: [tokens, tokens] }];
    },
  },
  rope: {
    summary:
      "rotary position embedding of x [heads, T, D] by positions [T] and inv_freq [rotaryDim / 2]",
    inputs: ["x", "positions", "inv_freq"],
    infer(inputs, { rotaryDim }) {
      const frequencies = inputs.get("inv_freq");
      expect(frequencies.shape[0] === rotaryDim / 2, `inv_freq [${rotaryDim / 2}]`, frequencies);
      return [inputs.get("x")];
    },
  },
  sequence_lengths: {
    summary:
      "tokens of each token's sequence at the end of the step [T]: the largest position among those with its sequence id, plus one",
    inputs: ["positions", "sequence_ids"],
    infer(inputs) {
      const positions = inputs.get("positions");
      return [{ dtype: "i32", shape: positions.shape }];
    },
  },
  dynamic_rope: {
    summary:
      "`rope` whose base grows with the length L of the sequence: frequency i times max(1, factor · L / maxPositions - factor + 1)^(-2i / (rotaryDim - 2))",
    inputs: ["x", "positions", "lengths", "inv_freq"],
    infer(inputs, { rotaryDim }) {
      const frequencies = inputs.get("inv_freq");
      expect(frequencies.shape[0] === rotaryDim / 2, `inv_freq [${rotaryDim / 2}]`, frequencies);
      return [inputs.get("x")];
    },
  },
  attention: {
    summary:
      "softmax(scale · q · kᵀ + causal mask by position) · v; query heads share key heads in groups; sinks [heads] join the softmax denominator",
    inputs: ["q", "k", "v", "positions", "sinks?"],
    infer(inputs: OpInputs) {
      const [q, k] = [inputs.get("q"), inputs.get("k")];
      heads(q, "q");
      heads(k, "k");
      expect(
        Number(q.shape[0]) % Number(k.shape[0]) === 0,
        `key heads that divide ${q.shape[0]}`,
        k,
      );
      return [{ dtype: "f32", shape: q.shape.with(2, inputs.get("v").shape[2]) }];
    },
  },
  cached_attention: {
    summary:
      "attention of the step's tokens over the paged cache, which they join: q, k, v [T, heads · headDim] each, or qkv side by side; norm, clip and RoPE, in this order, inside",
    inputs: [
      "qkv?",
      "q?",
      "k?",
      "v?",
      "positions",
      "sequence_ids",
      "block_table",
      "inv_freq?",
      "q_norm?",
      "k_norm?",
      "sinks?",
    ],
    infer(inputs, attrs) {
      const { heads, kvHeads, headDim, valueDim = headDim } = attrs;
      const values = attrs.keysAreValues ? 0 : kvHeads * valueDim;
      const width = (heads + kvHeads) * headDim + values;
      const qkv = inputs.maybe("qkv");
      if (qkv) expect(qkv.shape[1] === width, `qkv [T, ${width}]`, qkv);
      else {
        const q = inputs.get("q");
        expect(q.shape[1] === heads * headDim, `q [T, ${heads * headDim}]`, q);
      }
      expect(
        (attrs.rope === undefined) === (inputs.maybe("inv_freq") === undefined),
        "inv_freq exactly with rope",
        "one of them",
      );
      const tokens = (qkv ?? inputs.get("q")).shape[0];
      return [{ dtype: "f32", shape: [tokens, heads * valueDim] }];
    },
  },
  cached_mla_attention: {
    summary:
      "multi-head latent attention over a paged cache of latents: q [T, heads · (nopeDim + ropeDim)], or with q_w [heads · (nopeDim + ropeDim), rank] the latents [T, rank] that q_norm and q_w make queries of; kv [T, latentDim + ropeDim], its latent normed by kv_norm, its rest the key that turns; w [heads · (nopeDim + valueDim), latentDim] makes keys and values of latents; q and kv may be columns of wider values, from qFirst and kvFirst on",
    inputs: [
      "q",
      "q_norm?",
      "q_w?",
      "kv",
      "kv_norm",
      "w",
      "positions",
      "sequence_ids",
      "block_table",
      "inv_freq",
    ],
    infer(inputs, { heads, nopeDim, ropeDim, valueDim, latentDim, qFirst = 0, kvFirst = 0, qEps }) {
      const [q, kv, w] = ["q", "kv", "w"].map((name) => inputs.get(name));
      const [qUp, qNorm] = [inputs.maybe("q_w"), inputs.maybe("q_norm")];
      const queries = heads * (nopeDim + ropeDim);
      const complete = (qUp === undefined) === (qNorm === undefined) &&
        (qUp === undefined) === (qEps === undefined);
      expect(complete, "q_w, q_norm and qEps together", String(qEps));
      if (qUp) expect(qUp.shape[0] === queries, `q_w [${queries}, rank]`, qUp);
      const width = qUp ? Number(qUp.shape[1]) : queries;
      expect(Number(q.shape[1]) >= qFirst + width, `q [T, ${qFirst} + ${width}]`, q);
      const latents = latentDim + ropeDim;
      expect(Number(kv.shape[1]) >= kvFirst + latents, `kv [T, ${kvFirst} + ${latents}]`, kv);
      const rows = heads * (nopeDim + valueDim);
      expect(String(w.shape) === String([rows, latentDim]), `w [${rows}, ${latentDim}]`, w);
      return [{ dtype: "f32", shape: [q.shape[0], heads * valueDim] }];
    },
    flops: (inputs, { heads, nopeDim, valueDim, latentDim }, bindings) =>
      2 * sizeOf(inputs.get("kv"), bindings) / Number(inputs.get("kv").shape[1]) *
      (heads * (nopeDim + valueDim) * latentDim + queryWeights(inputs)),
  },
};
