/**
 * The transforms that stack packed experts with their scales and pass the layer to a fused backend, one
 * line each. The rewrite is in `fuse_experts.ts`; `fuse_fp8_moe`, which also rounds activations, has a
 * file of its own.
 *
 * @module
 */

import type { PackedFormat } from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";
import { fuseExperts, moesOf, planExperts } from "./fuse_experts.ts";
import { backendConfig } from "./moe_backend_choice.ts";

/** In the order of `configs/default.yaml`. */
export const fusePackedMoes = [
  fusePacked("fuse_finegrained_fp8_moe", "fp8_block", "block-FP8", [
    "quantize_finegrained_fp8_moe",
  ]),
  fusePacked("fuse_nvfp4_moe", "nvfp4", "NVFP4", ["quantize_nvfp4_moe"]),
  fusePacked("fuse_mxfp4_moe", "mxfp4", "MXFP4", ["quantize_mxfp4_moe", "quantize_moe"]),
] as const;

function fusePacked<const Key extends string>(
  key: Key,
  format: PackedFormat,
  name: string,
  quantizers: readonly string[],
) {
  const config = backendConfig({});
  return defineTransform({
    key,
    stage: "post_load_fusion",
    summary: `Stack ${name} experts and replace \`moe\` by a fused backend`,
    base: { after: ["match_moe_pattern", ...quantizers], expect_mem_change: true },
    get config() {
      return config();
    },
    plan: (graph, config, context) => planExperts(moesOf(graph, [format]), config, context),
    apply(graph, plan) {
      for (const match of plan.matches) fuseExperts(graph, match);
    },
  });
}
