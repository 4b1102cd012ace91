/**
 * `match_bmm_moe_pattern`: experts in batched products, every token through every expert, become one
 * `moe` node a layer; here the routing weight multiplies the experts' input.
 *
 * Before:
 * ```text
 * %1 = scatter(x: routing, indices: selected) {classes: E}                 [T, E]
 * %2 = mul(a: expand(unsqueeze(x)), b: unsqueeze(transpose(%1)))            [E, T, H]
 * %3 = matmul(a: %2, b: @gate_up)                                           [E, T, 2I]
 * %4 = matmul(a: mul(slice(%3, I..2I), silu(slice(%3, 0..I))), b: @down)    [E, T, H]
 * %5 = sum(%4) {dim: 0}                                                     [T, H]
 * ```
 * After, with a matrix of each stack for each expert:
 * ```text
 * %1 = moe(x: x, selected_experts: selected, routing_weights: routing, w1: [..], w2: [..], w3: [..])
 *      {mlp: gated, activation: silu, applyRoutingOnInput: true}
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { findMatches } from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";
import { matchBatch, replaceBatch } from "./batched_experts.ts";

/** See the module's documentation. */
export const matchBmmMoePattern = defineTransform({
  key: "match_bmm_moe_pattern",
  stage: "pattern_matcher",
  summary: "Replace batched experts with routing on their input by `moe`",
  config: z.object({}),
  plan(graph) {
    const { matches, nearMisses } = findMatches(graph, "sum", matchBatch);
    return { matches: matches.filter(({ attrs }) => attrs.applyRoutingOnInput), nearMisses };
  },
  apply(graph, plan) {
    for (const batch of plan.matches) replaceBatch(graph, batch);
  },
});
