/**
 * Attention over the paged cache: single tokens after contexts of some lengths, and prompts.
 *
 * @module
 */

import { tensor } from "../graph/mod.ts";
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

await registerOps([
  ...CONTEXTS.map((context) => attention("decode", 1, context - 1)),
  ...PROMPTS.map((tokens) => attention("prefill", tokens, 0)),
]);
