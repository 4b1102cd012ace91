/**
 * `scale_kv_cache`: keys and values of a cache in FP8 are divided by the scales that the checkpoint was
 * calibrated with, so that they use the range of E4M3; scores and results are multiplied with them.
 * Caches in f16 and f32 need no scales.
 *
 * Before:
 * ```text
 * %2 = cached_attention(qkv: %1, .., k_norm: @w) {scale: 0.25, ..}
 * ```
 * After, with k_scale 0.5 and v_scale 0.1 (without a norm, the keys' 1 / 0.5 is in %2 as well):
 * ```text
 * %2 = mul(%1, @[1, .., 1, .., 10, ..])
 * %3 = cached_attention(qkv: %2, .., k_norm: @scaled<2>(w)) {scale: 0.125, ..}
 * %4 = mul(%3, 0.1)
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  constant,
  elementCount,
  type Graph,
  GraphBuilder,
  isOp,
  labelNode,
  type NearMiss,
  type Node,
  optionalInput,
  replaceNode,
  scaled,
  type Value,
} from "../../graph/mod.ts";
import { loadWeight } from "../../models/mod.ts";
import { defineTransform, type ModelHandle } from "../core/transform.ts";
import { cacheNotes } from "./cache_meta.ts";

/** Names of a layer's scales below its attention module, which differ from writer to writer. */
const NAMES = {
  keys: ["k_scale", "k_proj.k_scale", "attn.k_scale", "k_proj.output_scale", "kv_scale"],
  values: ["v_scale", "v_proj.v_scale", "attn.v_scale", "v_proj.output_scale", "kv_scale"],
} as const;

/** An attention layer with its scales. */
interface Match {
  readonly attention: Node<"cached_attention">;
  readonly keys: number;
  readonly values: number;
}

/** See the module's documentation. */
export const scaleKvCache = defineTransform({
  key: "scale_kv_cache",
  stage: "cache_init",
  summary: "Divide keys and values of an FP8 cache by the checkpoint's scales",
  base: { after: ["insert_cached_attention"], before: ["initialize_cache"] },
  config: z.object({}),
  async plan(graph, _config, { model }) {
    const matches: Match[] = [];
    const nearMisses: NearMiss[] = [];
    if (cacheNotes(graph).dtype !== "f8_e4m3") return { matches, nearMisses };
    for (const attention of graph.nodes.filter((node) => isOp(node, "cached_attention"))) {
      const keys = await readScale(model, attention.scope, NAMES.keys);
      const values = await readScale(model, attention.scope, NAMES.values);
      if (keys === undefined && values === undefined) continue;
      const reason = typeof keys === "string"
        ? keys
        : typeof values === "string"
        ? values
        : attention.attrs.clip === undefined
        ? undefined
        : "its keys and values are clamped where they would be scaled";
      if (reason !== undefined) nearMisses.push({ node: labelNode(attention), reason });
      else matches.push({ attention, keys: Number(keys ?? 1), values: Number(values ?? 1) });
    }
    const notes = matches.length === 0
      ? []
      : [`${matches.length} FP8 caches use the checkpoint's scales`];
    return { matches, nearMisses, notes };
  },
  apply(graph, plan) {
    for (const match of plan.matches) scaleCache(graph, match);
  },
});

/** A scale of a layer; a text says why the one there is cannot be used. */
async function readScale(
  { checkpoint }: ModelHandle,
  scope: string,
  names: readonly string[],
): Promise<number | string | undefined> {
  const name = names.map((each) => `${scope}.${each}`).find((each) => checkpoint.has(each));
  if (name === undefined) return undefined;
  const { shape } = checkpoint.info(name);
  if (elementCount(shape) !== 1) return `"${name}" has ${elementCount(shape)} numbers, not one`;
  const { data } = await loadWeight(scaled(checkpoint.tensor(name, shape), 1), checkpoint);
  return Number(data[0]);
}

function scaleCache(graph: Graph, { attention, keys, values }: Match): void {
  if (keys === 1 && values === 1) return;
  const current = graph.current(attention);
  const b = new GraphBuilder(graph, { scope: attention.scope, before: current });
  const { heads, kvHeads, headDim, qkNorm, scale } = attention.attrs;
  const kNorm = optionalInput(attention, "k_norm");
  // A norm undoes what happens to its input: there the norm's own weight is scaled.
  const beforeNorm = qkNorm === undefined ? 1 / keys : 1;
  const factors = (query: boolean) =>
    constant(Float32Array.from([
      ...(query ? new Array<number>(heads * headDim).fill(1) : []),
      ...new Array<number>(kvHeads * headDim).fill(beforeNorm),
      ...new Array<number>(kvHeads * headDim).fill(1 / values),
    ]));
  const times = (x: Value, factor: number) =>
    factor === 1 ? x : b.op("mul", { a: x, b: b.scalar(factor) });
  const { qkv, k, v } = {
    qkv: optionalInput(current, "qkv"),
    k: optionalInput(current, "k"),
    v: optionalInput(current, "v"),
  };
  const result = b.op("cached_attention", {
    ...current.inputs,
    qkv: qkv && b.op("mul", { a: qkv, b: b.weight("kv_factors", factors(true)) }),
    k: k && times(k, beforeNorm),
    v: v && times(v, 1 / values),
    k_norm: kNorm?.weight && b.weight("k_norm.weight", scaled(kNorm.weight, 1 / keys)),
  }, { ...attention.attrs, scale: scale * keys });
  replaceNode(graph, attention, times(result, values));
}
