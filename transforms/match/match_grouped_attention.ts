/**
 * `match_grouped_attention`: attention reads the key and value heads themselves instead of copies.
 *
 * Before:
 * ```text
 * %1 = repeat_kv(k) {repeats: 4}
 * %2 = repeat_kv(v) {repeats: 4}
 * %3 = attention(q: q, k: %1, v: %2, positions: positions) {scale: 0.125}
 * ```
 * After:
 * ```text
 * %1 = attention(q: q, k: k, v: v, positions: positions) {scale: 0.125}
 * ```
 *
 * @module
 */

import { input, type Node, type Probe, type Value } from "../../graph/mod.ts";
import { definePattern, replaceByOp } from "./pattern.ts";

interface Grouped {
  readonly attention: Node<"attention">;
  readonly k: Value;
  readonly v: Value;
}

/** See the module's documentation. */
export const matchGroupedAttention = definePattern({
  key: "match_grouped_attention",
  summary: "Let `attention` read key and value heads in groups, without copies",
  base: { after: ["match_repeat_kv", "match_eager_attention"] },
  root: "attention",
  match: matchGroups,
  rewrite: (graph, { attention, k, v }) =>
    replaceByOp(graph, attention, "attention", { ...attention.inputs, k, v }, attention.attrs),
});

function matchGroups(probe: Probe, attention: Node<"attention">): Grouped {
  const k = probe.maybe(input(attention, "k"), "repeat_kv");
  const v = probe.maybe(input(attention, "v"), "repeat_kv");
  if (k || v) probe.recognised();
  if (!k || !v) probe.fail(attention, `its ${k ? "v" : "k"} does not come from repeat_kv`);
  const equal = k.attrs.repeats === v.attrs.repeats;
  probe.check(equal, attention, "keys and values are repeated different numbers of times");
  return { attention, k: input(k, "x"), v: input(v, "x") };
}
