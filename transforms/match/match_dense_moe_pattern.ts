/**
 * `match_dense_moe_pattern`: experts in batched products, every token through every expert, become one
 * `moe` node a layer; here the routing weight multiplies the experts' output.
 *
 * Before:
 * ```text
 * %1 = scatter(x: routing, indices: selected) {classes: E}                 [T, E]
 * %2 = matmul(a: expand(unsqueeze(x)), b: @gate_up)                         [E, T, 2I]
 * %3 = matmul(a: mul(slice(%2, I..2I), silu(slice(%2, 0..I))), b: @down)    [E, T, H]
 * %4 = sum(mul(a: %3, b: unsqueeze(transpose(%1)))) {dim: 0}                [T, H]
 * ```
 * After, with a matrix of each stack for each expert:
 * ```text
 * %1 = moe(x: x, selected_experts: selected, routing_weights: routing, w1: [..], w2: [..], w3: [..])
 *      {mlp: gated, activation: silu, applyRoutingOnInput: false}
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { findMatches } from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";
import { matchBatch, replaceBatch } from "./batched_experts.ts";

/** See the module's documentation. */
export const matchDenseMoePattern = defineTransform({
  key: "match_dense_moe_pattern",
  stage: "pattern_matcher",
  summary: "Replace batched experts with routing on their output by `moe`",
  config: z.object({}),
  plan(graph) {
    const { matches, nearMisses } = findMatches(graph, "sum", matchBatch);
    return { matches: matches.filter(({ attrs }) => !attrs.applyRoutingOnInput), nearMisses };
  },
  apply(graph, plan) {
    for (const batch of plan.matches) replaceBatch(graph, batch);
  },
});
