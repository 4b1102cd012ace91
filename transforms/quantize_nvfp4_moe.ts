/**
 * `quantize_nvfp4_moe`: experts that the checkpoint stores as NVFP4 (two levels of scales) keep that form. See
 * `quantize_from_checkpoint.ts` for the rewrite.
 *
 * @module
 */

import { z } from "zod";
import { packMoes, planPackedMoes, quantizeFields } from "./quantize_from_checkpoint.ts";
import { defineTransform } from "./transform.ts";

/** See the module's documentation. */
export const quantizeNvfp4Moe = defineTransform({
  key: "quantize_nvfp4_moe",
  stage: "pattern_matcher",
  summary: "Keep NVFP4 experts as codes and scales",
  base: { after: ["match_moe_pattern"] },
  config: z.object(quantizeFields),
  plan: (graph, config) => planPackedMoes(graph, "nvfp4", config),
  apply: (graph, plan) => packMoes(graph, plan.matches),
});
