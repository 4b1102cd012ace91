/**
 * `quantize_finegrained_fp8_linear_from_config`: linear layers that the checkpoint stores as fine-grained FP8 (`weight_scale_inv`) keep that form. See
 * `quantize_from_checkpoint.ts` for the rewrite.
 *
 * @module
 */

import { z } from "zod";
import { packLinears, planPackedLinears, quantizeFields } from "./quantize_from_checkpoint.ts";
import { defineTransform } from "./transform.ts";

/** See the module's documentation. */
export const quantizeFinegrainedFp8LinearFromConfig = defineTransform({
  key: "quantize_finegrained_fp8_linear_from_config",
  stage: "pattern_matcher",
  summary: "Keep block-FP8 linear layers as codes and scales",
  base: { after: ["match_moe_pattern"] },
  config: z.object(quantizeFields),
  plan: (graph, config) => planPackedLinears(graph, "fp8_block", config),
  apply: (graph, plan) => packLinears(graph, plan.matches),
});
