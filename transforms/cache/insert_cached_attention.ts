/**
 * `insert_cached_attention`: attention over the tokens of one step becomes attention over a paged
 * cache, with everything between projections and scores inside.
 *
 * Before (q of Qwen3-MoE; k the same, v without norm and RoPE):
 * ```text
 * %1 = linear(x: h, w: @q_proj+k_proj+v_proj.weight)
 * %2 = slice(%1) {dim: 1, start: 0, end: 64}
 * %3 = reshape(%2) {shape: [T, 4, 16]}
 * %4 = rms_norm(x: %3, w: @q_norm)
 * %5 = transpose(%4) {dims: [0, 1]}
 * %6 = rope(x: %5, positions: positions, inv_freq: @inv_freq)
 * %7 = attention(q: %6, k: .., v: .., positions: positions) {scale: 0.25}
 * %8 = transpose(%7) {dims: [0, 1]}
 * %9 = reshape(%8) {shape: [T, 64]}
 * ```
 * After:
 * ```text
 * %2 = cached_attention(qkv: %1, positions: .., sequence_ids: .., block_table: .., inv_freq: ..,
 *      q_norm: .., k_norm: ..) {heads: 4, kvHeads: 2, headDim: 16, cache: .., rope: .., qkNorm: ..}
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  type CachedAttentionAttrs,
  type Graph,
  GraphBuilder,
  input,
  isOp,
  labelNode,
  type NearMiss,
  type Node,
  type NodeInputs,
  optionalInput,
  replaceNode,
  type Value,
} from "../../graph/mod.ts";
import { flatten, type Operand, traceOperand } from "./attention_operand.ts";
import { CACHE_DTYPES, setCacheNotes } from "./cache_meta.ts";
import { flatResult } from "./flat_result.ts";
import { accepted } from "../core/accepted.ts";
import { defineTransform } from "../core/transform.ts";

interface Match {
  readonly attention: Node<"attention">;
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
  /** How many of RoPE, clamp and norm (in this order) go into the kernel. */
  readonly depth: number;
}

/** AutoDeploy's names, which choose among CUDA kernels. */
const BACKENDS = [
  ...["auto", "flashinfer", "triton", "triton_paged", "torch", "trtllm"] as const,
  ...["deepseek_v4_sparse", "nanojet"] as const,
] as const;

/** See the module's documentation. */
export const insertCachedAttention = defineTransform({
  key: "insert_cached_attention",
  stage: "cache_init",
  summary:
    "Replace `attention`, and the norm, clamp and RoPE before it, by attention over a paged cache",
  config: z.object({
    backend: z.enum(BACKENDS).default("auto").describe(
      accepted("WebGPU has one paged attention"),
    ),
    cache_dtype: z.enum(["auto", "f16", "f32", "fp8"]).default("auto").describe(
      "Element type of keys and values in the cache; auto is f16, fp8 is E4M3, which saturates at 448",
    ),
  }),
  plan(graph, config, { log }) {
    // Layers whose attention is over latents take the type of the cache from here.
    const matches: (Match | Node<"cached_mla_attention">)[] = graph.nodes.filter((node) =>
      isOp(node, "cached_mla_attention")
    );
    const nearMisses: NearMiss[] = [];
    for (const attention of graph.nodes.filter((node) => isOp(node, "attention"))) {
      const { match, reason } = matchOperands(graph, attention);
      matches.push(match);
      if (reason !== undefined) nearMisses.push({ node: labelNode(attention), reason });
    }
    const notes = config.backend === "auto" ? [] : [
      `backend "${config.backend}" names a CUDA kernel: WebGPU has one paged attention, which is used`,
    ];
    notes.forEach((note) => log(`insert_cached_attention: ${note}`));
    return { matches, nearMisses, notes };
  },
  apply(graph, plan, config) {
    setCacheNotes(graph, { dtype: CACHE_DTYPES[config.cache_dtype] });
    const names = new Set<string>();
    for (const match of plan.matches) {
      if ("op" in match) continue;
      const { scope } = match.attention;
      const cache = names.has(scope) ? `${scope}#${names.size}` : scope;
      names.add(cache);
      insert(graph, match, cache);
    }
  },
});

/** How many of the steps are the same for q, k and v; the kernel has one set of parameters for all. */
function matchOperands(graph: Graph, attention: Node<"attention">) {
  const [q, k, v] = ["q", "k", "v"].map((name) => traceOperand(graph, input(attention, name)));
  const positions = input(attention, "positions");
  const match = (depth: number, reason?: string) => ({
    match: { attention, q, k, v, depth },
    ...(reason === undefined ? {} : { reason: `${reason}: it stays outside the kernel` }),
  });
  if (!sameRope(q, k, positions)) return match(0, "q and k have different RoPE");
  if (v.rope) return match(0, "v has RoPE");
  if (q.clip !== k.clip || q.clip !== v.clip) return match(1, "q, k and v are clamped differently");
  const sameNorm = q.norm?.eps === k.norm?.eps && q.norm?.over === k.norm?.over;
  const plainValues = !v.norm || (v.norm.over === "head" && isOnes(v.norm.weight));
  if (!sameNorm || !plainValues) return match(2, "q, k and v are normed differently");
  return match(3);
}

/** A norm's weight that changes nothing. */
function isOnes({ weight }: Value): boolean {
  const data = weight?.kind === "constant" ? weight.data : undefined;
  return data !== undefined && data.every((each) => each === 1);
}

function sameRope({ rope: q }: Operand, { rope: k }: Operand, positions: Value): boolean {
  if (!q || !k) return q === k;
  return JSON.stringify(q.attrs) === JSON.stringify(k.attrs) &&
    q.inverseFrequencies.id === k.inverseFrequencies.id &&
    q.positions.id === positions.id && k.positions.id === positions.id;
}

function insert(graph: Graph, { attention, q, k, v, depth }: Match, cache: string): void {
  const [tokens, query] = [attention.outputs[0].shape[1], input(attention, "q").shape];
  const [heads, headDim] = [Number(query[0]), Number(query[2])];
  const kvHeads = Number(input(attention, "k").shape[0]);
  const valueDim = Number(input(attention, "v").shape[2]);
  const { node: last, flat } = flatResult(graph, attention);
  const b = new GraphBuilder(graph, { scope: attention.scope, before: graph.current(last) });
  const [rope, clip, norm] = [depth > 0 && q.rope, depth > 1 && q.clip, depth > 2 && q.norm];
  const attrs: CachedAttentionAttrs = {
    ...attention.attrs,
    heads,
    kvHeads,
    headDim,
    ...(valueDim !== headDim && { valueDim }),
    cache,
    ...(rope && { rope: rope.attrs }),
    ...(norm && { qkNorm: { eps: norm.eps, over: norm.over } }),
    ...(depth > 2 && v.norm && { valueNorm: { eps: v.norm.eps } }),
    ...(typeof clip === "number" && { clip }),
  };
  const { keysAreValues, projected } = operands(graph, b, [
    { value: q.before[depth], heads },
    { value: k.before[depth], heads: kvHeads },
    { value: v.before[depth], heads: kvHeads },
  ]);
  const result = b.op("cached_attention", {
    ...projected,
    positions: input(attention, "positions"),
    sequence_ids: graph.addInput("sequence_ids", { dtype: "i32", shape: ["T"] }),
    block_table: graph.addInput("block_table", { dtype: "i32", shape: ["S", "P"] }),
    inv_freq: rope ? rope.inverseFrequencies : undefined,
    q_norm: norm ? norm.weight : undefined,
    k_norm: norm ? k.norm?.weight : undefined,
    sinks: optionalInput(attention, "sinks"),
  }, { ...attrs, ...(keysAreValues && { keysAreValues }) });
  if (flat) return replaceNode(graph, last, result);
  const byToken = b.op("reshape", { x: result }, { shape: [tokens, heads, valueDim] });
  replaceNode(graph, last, b.op("transpose", { x: byToken }, { dims: [0, 1] }));
}

/**
 * One `qkv` when the three are neighbouring slices of one value, or q and k are and v is k;
 * `q`, `k`, `v` otherwise.
 */
function operands(
  graph: Graph,
  b: GraphBuilder,
  parts: readonly { value: Value; heads: number }[],
): { readonly projected: NodeInputs; readonly keysAreValues: boolean } {
  const values = parts.map(({ value, heads }) => flatten(graph, b, value, heads));
  const [q, k, v] = values;
  const keysAreValues = v.id === k.id;
  const joined = joinedIn(graph, keysAreValues ? [q, k] : values);
  if (!joined) return { projected: { q, k, v }, keysAreValues: false };
  return { projected: { qkv: joined }, keysAreValues };
}

/** The value whose neighbouring columns these are, all of them. */
function joinedIn(graph: Graph, values: readonly Value[]): Value | undefined {
  const slices = values.map((value) => graph.producer(value)).filter((node) => isOp(node, "slice"));
  if (slices.length !== values.length) return undefined;
  const joined = input(slices[0], "x");
  let next = 0;
  for (const { inputs, attrs, outputs } of slices) {
    const neighbours = inputs.x === joined && attrs.start === next && (attrs.step ?? 1) === 1 &&
      (attrs.dim === 1 || attrs.dim === -1);
    if (!neighbours) return undefined;
    next += Number(outputs[0].shape[1]);
  }
  return joined.shape[1] === next ? joined : undefined;
}
