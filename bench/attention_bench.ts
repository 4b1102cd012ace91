/**
 * Attention over the paged cache: single tokens after contexts of some lengths, and prompts; latent
 * attention of prompts in both of its forms.
 *
 * @module
 */

import { type GraphBuilder, tensor } from "../graph/mod.ts";
import { benchDevice } from "./bench_device.ts";
import { type OpBench, registerOps } from "./op_bench.ts";

const { software } = (await benchDevice()).profile;

const PAGE = 16;

/** Heads of Qwen3-30B-A3B, or fewer. */
const { heads, kvHeads, headDim } = software
  ? { heads: 8, kvHeads: 2, headDim: 64 }
  : { heads: 32, kvHeads: 4, headDim: 128 };
const CONTEXTS = software ? [128, 1024] : [512, 4096, 16384];
const PROMPTS = software ? [64] : [512, 2048];

/** `tokens` tokens of one sequence that follow `before` others. */
function attention(name: string, tokens: number, before: number): OpBench {
  const context = before + tokens;
  const pages = Math.ceil(context / PAGE);
  // A token attends to everything before it and to itself.
  const pairs = tokens * before + (tokens * (tokens + 1)) / 2;
  const indices = (count: number, first = 0) =>
    Int32Array.from({ length: count }, (_, i) => first + i);
  return {
    group: `attention ${heads} x ${headDim}, ${kvHeads} heads of keys, ${name}`,
    name: `${name} ${tokens} after ${before}`,
    flops: 4 * heads * headDim * pairs,
    otherBytes: 2 * 4 * kvHeads * headDim * before,
    op: {
      sizes: { T: tokens, R: 1, S: 1, P: pages },
      cacheBytes: pages * PAGE * kvHeads * headDim * 4,
      integers: {
        positions: indices(tokens, before),
        sequence_ids: new Int32Array(tokens),
        block_table: indices(pages),
      },
      build: (b) => {
        const integers = (input: string, ...shape: string[]) =>
          b.input(input, { dtype: "i32", shape });
        return b.op("cached_attention", {
          qkv: b.input("qkv", { dtype: "f32", shape: ["T", (heads + 2 * kvHeads) * headDim] }),
          positions: integers("positions", "T"),
          sequence_ids: integers("sequence_ids", "T"),
          block_table: integers("block_table", "S", "P"),
          inv_freq: b.weight("inv_freq", tensor("inv_freq", "f32", [headDim / 2])),
        }, {
          ...{ heads, kvHeads, headDim, cache: "layer", scale: headDim ** -0.5 },
          rope: { layout: "half", rotaryDim: headDim, attentionScaling: 1 },
        });
      },
    },
  };
}

/** DeepSeek-V2-Lite's latent attention, or one of a quarter of its sizes. */
const LATENT = software
  ? { heads: 4, nopeDim: 32, ropeDim: 16, valueDim: 32, latentDim: 128 }
  : { heads: 16, nopeDim: 128, ropeDim: 64, valueDim: 128, latentDim: 512 };
const LATENT_PROMPTS = software ? [[64, 64]] : [[512, 0], [512, 2048], [2048, 0], [2048, 2048]];

/** A prompt's tokens behind others, with queries taken to the latents or keys made of those. */
function latent(form: "absorbed" | "expanded", tokens: number, before: number): OpBench {
  const { heads, nopeDim, ropeDim, valueDim, latentDim } = LATENT;
  const width = latentDim + ropeDim;
  const pages = Math.ceil((before + tokens) / PAGE);
  const pairs = tokens * before + (tokens * (tokens + 1)) / 2;
  const indices = (count: number, first = 0) =>
    Int32Array.from({ length: count }, (_, i) => first + i);
  const input = (
    b: GraphBuilder,
    name: string,
    dtype: "f32" | "i32",
    ...shape: (string | number)[]
  ) => b.input(name, { dtype, shape });
  const weight = (b: GraphBuilder, name: string, ...shape: number[]) =>
    b.weight(name, tensor(name, name === "w" ? "bf16" : "f32", shape));
  return {
    group: `latent attention ${heads} x ${nopeDim} + ${ropeDim}, ${tokens} after ${before}`,
    name: `${form} ${tokens} after ${before}`,
    // What the expanded form multiplies for attention alone.
    flops: 2 * heads * (nopeDim + ropeDim + valueDim) * pairs,
    otherBytes: 4 * width * before,
    op: {
      sizes: { T: tokens, R: 1, S: 1, P: pages },
      cacheBytes: pages * PAGE * width * 4,
      integers: {
        positions: indices(tokens, before),
        sequence_ids: new Int32Array(tokens),
        block_table: indices(pages),
      },
      build: (b) =>
        b.op("cached_mla_attention", {
          q: input(b, "q", "f32", "T", heads * (nopeDim + ropeDim)),
          kv: input(b, "kv", "f32", "T", width),
          kv_norm: weight(b, "kv_norm", latentDim),
          w: weight(b, "w", heads * (nopeDim + valueDim), latentDim),
          positions: input(b, "positions", "i32", "T"),
          sequence_ids: input(b, "sequence_ids", "i32", "T"),
          block_table: input(b, "block_table", "i32", "S", "P"),
          inv_freq: weight(b, "inv_freq", ropeDim / 2),
        }, {
          ...{ ...LATENT, cache: "layer", eps: 1e-6, scale: (nopeDim + ropeDim) ** -0.5 },
          rope: { layout: "interleaved", rotaryDim: ropeDim, attentionScaling: 1 },
          expandFrom: form === "absorbed" ? "never" : 2,
        }),
    },
  };
}

await registerOps([
  ...CONTEXTS.map((context) => attention("decode", 1, context - 1)),
  ...PROMPTS.map((tokens) => attention("prefill", tokens, 0)),
  ...LATENT_PROMPTS.flatMap(([tokens, before]) => [
    latent("absorbed", tokens, before),
    latent("expanded", tokens, before),
  ]),
]);
