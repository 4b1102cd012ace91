/**
 * `fuse_moe`: stacks the weights of all experts and hands the layer to a fused backend. Weights are
 * expressions, so stacking copies nothing. Every attribute and every bias is carried over. It takes
 * plain weights, and int8 and int4 of a checkpoint or of `quantize_moe`; see `fuse_experts.ts`.
 *
 * Before:
 * ```text
 * %1 = moe(x: x, selected_experts: ids, routing_weights: weights, w1: [..], w2: [..], w3: [..])
 *      {mlp: gated, activation: silu, applyRoutingOnInput: false}
 * ```
 * After, with rows 0..I-1 of `w_up` from w3 and rows I..2I-1 from w1:
 * ```text
 * %1 = fused_moe(x: x, selected_experts: ids, routing_weights: weights, w_up: @..[E, 2I, H],
 *      w_down: @..[E, H, I]) {.., backend: auto, experts: E, topK: K, hidden: H, intermediate: I,
 *      format: bf16, activationQuant: none}
 * ```
 *
 * @module
 */

import { inputList } from "../../graph/mod.ts";
import { fuseExperts, moesOf, planExperts } from "./fuse_experts.ts";
import { backendConfig } from "./moe_backend_choice.ts";
import { defineTransform } from "../core/transform.ts";

const config = backendConfig({});

/** See the module's documentation. */
export const fuseMoe = defineTransform({
  key: "fuse_moe",
  stage: "post_load_fusion",
  summary: "Stack expert weights and replace `moe` by a fused backend",
  base: { after: ["match_moe_pattern"], expect_mem_change: true },
  get config() {
    return config();
  },
  async plan(graph, config, context) {
    const moes = moesOf(graph, ["plain", "int8", "int4", "int8_affine", "int4_affine"]);
    const plan = await planExperts(moes, config, context);
    const expanded = moes.filter((moe) =>
      inputList(moe, "w1").some(({ weight }) =>
        weight?.kind === "dequantize" || weight?.kind === "grouped"
      )
    );
    if (expanded.length === 0) return plan;
    const note =
      `${expanded.length} layers are quantized in the checkpoint and expanded: no quantize transform took them`;
    return { ...plan, notes: [...plan.notes, note] };
  },
  apply(graph, plan) {
    for (const match of plan.matches) fuseExperts(graph, match);
  },
});
