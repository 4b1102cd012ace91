/**
 * `match_repeat_kv`: the repetition of key and value heads becomes one op.
 *
 * Before:
 * ```text
 * %1 = unsqueeze(%0) {dim: 1} : f32[KV, 1, T, D]
 * %2 = expand(%1) {shape: [KV, G, T, D]}
 * %3 = reshape(%2) {shape: [KV * G, T, D]}
 * ```
 * After:
 * ```text
 * %1 = repeat_kv(%0) {repeats: G}
 * ```
 *
 * @module
 */

import { input, isOp, type Node, type Probe, type Value } from "../../graph/mod.ts";
import { definePattern, replaceByOp } from "./pattern.ts";

interface Repeat {
  readonly result: Node;
  readonly x: Value;
  readonly repeats: number;
}

/** See the module's documentation. */
export const matchRepeatKv = definePattern({
  key: "match_repeat_kv",
  summary: "Replace the repetition of key and value heads by `repeat_kv`",
  base: { run_shape_prop: true },
  root: "reshape",
  match: matchRepeat,
  rewrite: (graph, { result, x, repeats }) =>
    replaceByOp(graph, result, "repeat_kv", { x }, { repeats }),
});

function matchRepeat(probe: Probe, result: Node<"reshape">): Repeat {
  const expand = probe.from(result, "x", "expand");
  const grown = input(expand, "x");
  const narrow = probe.graph.producer(grown);
  const x = isOp(narrow, "unsqueeze") || isOp(narrow, "reshape") ? input(narrow, "x") : grown;
  probe.check(
    x.shape.length === 3 && expand.attrs.shape.length === 4,
    expand,
    "it is not [KV, G, T, D]",
  );
  probe.recognised();
  const [heads, tokens, headDim] = x.shape;
  const repeats = expand.attrs.shape[1];
  if (typeof heads !== "number" || typeof repeats !== "number") {
    return probe.fail(expand, "the number of heads is a symbol");
  }
  const grownRight = String(grown.shape) === String([heads, 1, tokens, headDim]) &&
    String(expand.attrs.shape) === String([heads, repeats, tokens, headDim]);
  probe.check(grownRight, expand, "it does not repeat each head next to itself");
  const wanted = [heads * repeats, tokens, headDim];
  probe.check(
    String(result.attrs.shape) === String(wanted),
    result,
    `it does not make [${wanted}] of the repeated heads`,
  );
  return { result, x, repeats };
}
