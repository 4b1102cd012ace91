/**
 * `quantize_nvfp4_linear_from_config`: linear layers that the checkpoint stores as NVFP4 (two levels
 * of scales) keep that form. See `quantize_from_checkpoint.ts` for the rewrite.
 *
 * @module
 */

import { z } from "zod";
import { packLinears, planPackedLinears, quantizeFields } from "./quantize_from_checkpoint.ts";
import { defineTransform } from "./transform.ts";

/** See the module's documentation. */
export const quantizeNvfp4LinearFromConfig = defineTransform({
  key: "quantize_nvfp4_linear_from_config",
  stage: "pattern_matcher",
  summary: "Keep NVFP4 linear layers as codes and scales",
  base: { after: ["match_moe_pattern"] },
  config: z.object(quantizeFields),
  plan: (graph, config) => planPackedLinears(graph, "nvfp4", config),
  apply: (graph, plan) => packLinears(graph, plan.matches),
});
