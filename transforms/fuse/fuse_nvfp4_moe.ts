/**
 * `fuse_nvfp4_moe`: stacks NVFP4 experts with their scales and hands the layer to a fused backend. See
 * `fuse_experts.ts` for the rewrite.
 *
 * @module
 */

import { fuseExperts, moesOf, planExperts } from "./fuse_experts.ts";
import { backendConfig } from "./moe_backend_choice.ts";
import { defineTransform } from "../core/transform.ts";

const config = backendConfig({});

/** See the module's documentation. */
export const fuseNvfp4Moe = defineTransform({
  key: "fuse_nvfp4_moe",
  stage: "post_load_fusion",
  summary: "Stack NVFP4 experts and replace `moe` by a fused backend",
  base: { after: ["match_moe_pattern", "quantize_nvfp4_moe"], expect_mem_change: true },
  get config() {
    return config();
  },
  plan: (graph, config, context) => planExperts(moesOf(graph, ["nvfp4"]), config, context),
  apply(graph, plan) {
    for (const match of plan.matches) fuseExperts(graph, match);
  },
});
