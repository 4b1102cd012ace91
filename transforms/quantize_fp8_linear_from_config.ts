/**
 * `quantize_fp8_linear_from_config`: linear layers that the checkpoint stores as ModelOpt's per-tensor FP8 keep that form. See
 * `quantize_from_checkpoint.ts` for the rewrite.
 *
 * @module
 */

import { z } from "zod";
import { packLinears, planPackedLinears, quantizeFields } from "./quantize_from_checkpoint.ts";
import { defineTransform } from "./transform.ts";

/** See the module's documentation. */
export const quantizeFp8LinearFromConfig = defineTransform({
  key: "quantize_fp8_linear_from_config",
  stage: "pattern_matcher",
  summary: "Keep FP8 linear layers (one scale a matrix) as codes and scales",
  base: { after: ["match_moe_pattern"] },
  config: z.object(quantizeFields),
  plan: (graph, config) => planPackedLinears(graph, "fp8_e4m3", config),
  apply: (graph, plan) => packLinears(graph, plan.matches),
});
