/**
 * An attention layer by itself, whose inputs are the step's: for tests of sizes that kernels choose.
 *
 * @module
 */

import { Graph, GraphBuilder, type Node, tensor } from "../../graph/mod.ts";

/** Sizes of a layer. */
export interface AttentionSizes {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** A layer of the cache `layer`, q, k and v in one input, with RoPE of whole heads. */
export function attentionNode(
  { heads, kvHeads, headDim }: AttentionSizes,
): Node<"cached_attention"> {
  const b = new GraphBuilder(new Graph("test"));
  const integers = (name: string, ...shape: string[]) => b.input(name, { dtype: "i32", shape });
  return b.node("cached_attention", {
    qkv: b.input("qkv", { dtype: "f32", shape: ["T", (heads + 2 * kvHeads) * headDim] }),
    positions: integers("positions", "T"),
    sequence_ids: integers("sequence_ids", "T"),
    block_table: integers("block_table", "S", "P"),
    inv_freq: b.weight("inv_freq", tensor("inv_freq", "f32", [headDim / 2])),
  }, {
    ...{ heads, kvHeads, headDim, cache: "layer", scale: headDim ** -0.5 },
    rope: { layout: "half", rotaryDim: headDim, attentionScaling: 1 },
  });
}
