/**
 * `quantize_finegrained_fp8_moe`: experts that the checkpoint stores as fine-grained FP8 (`weight_scale_inv`) keep that form. See
 * `quantize_from_checkpoint.ts` for the rewrite.
 *
 * @module
 */

import { z } from "zod";
import { packMoes, planPackedMoes, quantizeFields } from "./quantize_from_checkpoint.ts";
import { defineTransform } from "./transform.ts";

/** See the module's documentation. */
export const quantizeFinegrainedFp8Moe = defineTransform({
  key: "quantize_finegrained_fp8_moe",
  stage: "pattern_matcher",
  summary: "Keep block-FP8 experts as codes and scales",
  base: { after: ["match_moe_pattern"] },
  config: z.object(quantizeFields),
  plan: (graph, config) => planPackedMoes(graph, "fp8_block", config),
  apply: (graph, plan) => packMoes(graph, plan.matches),
});
