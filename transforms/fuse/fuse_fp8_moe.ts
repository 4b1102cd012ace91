/**
 * `fuse_fp8_moe`: stacks FP8 experts with their scales and hands the layer to a fused backend. See
 * `fuse_experts.ts` for the rewrite, `input_scales.ts` for the scale that rounds the inputs of experts
 * whose scales differ. AutoDeploy has one scale for all and the field `allow_different_input_scales`;
 * the default here is each expert's own scale.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { fuseExperts, moesOf, planExperts } from "./fuse_experts.ts";
import type { InputScalePolicy } from "./input_scales.ts";
import { backendConfig } from "./moe_backend_choice.ts";
import { defineTransform } from "../core/transform.ts";

const config = backendConfig({
  allow_different_input_scales: z.boolean().nullable().default(null).describe(
    "AutoDeploy's field: false refuses experts whose input scales differ (policy same), true rounds all with the largest scale (policy max)",
  ),
  input_scale_policy: z.enum(["same", "max", "per_expert"]).nullable().default(null).describe(
    "Scale that rounds the input of an expert; null is per_expert unless allow_different_input_scales is set",
  ),
});

/** See the module's documentation. */
export const fuseFp8Moe = defineTransform({
  key: "fuse_fp8_moe",
  stage: "post_load_fusion",
  summary: "Stack FP8 experts and replace `moe` by a fused backend",
  base: {
    after: ["match_moe_pattern", "quantize_fp8_moe", "quantize_moe"],
    expect_mem_change: true,
  },
  get config() {
    return config();
  },
  plan(graph, config, context) {
    const { allow_different_input_scales: allowed, input_scale_policy: policy } = config;
    if (allowed === false && policy !== null && policy !== "same") {
      const reason =
        `allow_different_input_scales is false, but input_scale_policy is ${policy}; set only one of them`;
      return { matches: [], refusals: [{ node: "fuse_fp8_moe", reason }] };
    }
    const moes = moesOf(graph, ["fp8_e4m3"]);
    return planExperts(moes, config, context, policy ?? policyOf(allowed));
  },
  apply(graph, plan) {
    for (const match of plan.matches) fuseExperts(graph, match);
  },
});

/** The policy that AutoDeploy's field stands for. */
function policyOf(allowed: boolean | null): InputScalePolicy {
  if (allowed === null) return "per_expert";
  return allowed ? "max" : "same";
}
