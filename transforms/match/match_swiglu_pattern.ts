/**
 * `match_swiglu_pattern`: a dense gated MLP becomes one op. It runs after `match_moe_pattern` and
 * leaves alone the experts of a loop that was not matched there.
 *
 * Before:
 * ```text
 * %1 = linear(x: x, w: @gate)
 * %2 = silu(%1)
 * %3 = linear(x: x, w: @up)
 * %4 = mul(a: %2, b: %3)
 * %5 = linear(x: %4, w: @down)
 * ```
 * After:
 * ```text
 * %1 = gated_mlp(x: x, w_gate: @gate, w_up: @up, w_down: @down) {activation: silu}
 * ```
 *
 * @module
 */

import { type GatedMlpAttrs, input, type Node, type Probe, type Value } from "../../graph/mod.ts";
import { matchExpert } from "./moe_expert.ts";
import { definePattern, replaceByOp } from "./pattern.ts";

interface Mlp {
  readonly down: Node;
  readonly inputs: Record<"x" | "w_gate" | "w_up" | "w_down", Value>;
  readonly attrs: GatedMlpAttrs;
}

/** See the module's documentation. */
export const matchSwigluPattern = definePattern({
  key: "match_swiglu_pattern",
  summary: "Replace a dense gated MLP by `gated_mlp`",
  base: { after: ["match_moe_pattern"] },
  root: "linear",
  match: matchMlp,
  rewrite: (graph, { down, inputs, attrs }) => replaceByOp(graph, down, "gated_mlp", inputs, attrs),
});

function matchMlp(probe: Probe, down: Node<"linear">): Mlp {
  const { x, attrs, w1, w2, w3, b1, b2, b3 } = matchExpert(probe, down);
  const { activation } = attrs;
  probe.check(attrs.mlp === "gated" && w3 !== undefined, down, "it is not gated");
  probe.recognised();
  if (w3 === undefined || activation === "swiglu_oai") {
    return probe.fail(down, `gated_mlp has no activation ${activation}`);
  }
  const product = probe.maybe(x, "mul");
  const gathered = probe.maybe(x, "index") ??
    (product && (probe.maybe(input(product, "a"), "index") ??
      probe.maybe(input(product, "b"), "index")));
  if (gathered) probe.fail(down, "it is one expert of a loop that match_moe_pattern left alone");
  const bias = b1 ?? b2 ?? b3;
  if (bias) probe.fail(down, `gated_mlp has no bias, here is "${bias.name}"`);
  probe.onlyUser(input(down, "x"), down);
  return { down, inputs: { x, w_gate: w1, w_up: w3, w_down: w2 }, attrs: { activation } };
}
