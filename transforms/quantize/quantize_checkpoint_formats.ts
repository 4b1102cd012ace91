/**
 * The transforms that keep weights as the checkpoint stores them, one line each. The rewrite is in
 * `quantize_from_checkpoint.ts`.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import type { PackedFormat } from "../../graph/mod.ts";
import {
  packLinears,
  packMoes,
  planPackedLinears,
  planPackedMoes,
  quantizeFields,
} from "./quantize_from_checkpoint.ts";
import { defineTransform } from "../core/transform.ts";

/** In the order of `configs/default.yaml`. */
export const quantizeCheckpointFormats = [
  keepLinears(
    "quantize_fp8_linear_from_config",
    ["fp8_e4m3"],
    "FP8 linear layers (a scale for each matrix or row)",
  ),
  keepLinears(
    "quantize_finegrained_fp8_linear_from_config",
    ["fp8_block"],
    "block-FP8 linear layers",
  ),
  keepLinears("quantize_nvfp4_linear_from_config", ["nvfp4"], "NVFP4 linear layers"),
  keepLinears("quantize_mxfp4_linear_from_config", ["mxfp4"], "MXFP4 linear layers"),
  keepLinears("quantize_int8_linear_from_config", ["int8", "int8_affine"], "INT8 linear layers"),
  keepLinears("quantize_int4_linear_from_config", ["int4", "int4_affine"], "INT4 linear layers"),
  keepMoes("quantize_fp8_moe", ["fp8_e4m3"], "FP8 experts (a scale for each matrix or row)"),
  keepMoes("quantize_finegrained_fp8_moe", ["fp8_block"], "block-FP8 experts"),
  keepMoes("quantize_nvfp4_moe", ["nvfp4"], "NVFP4 experts"),
  keepMoes("quantize_mxfp4_moe", ["mxfp4"], "MXFP4 experts"),
  keepMoes("quantize_int8_moe", ["int8", "int8_affine"], "INT8 experts"),
  keepMoes("quantize_int4_moe", ["int4", "int4_affine"], "INT4 experts"),
] as const;

function keepLinears<const Key extends string>(
  key: Key,
  formats: readonly PackedFormat[],
  what: string,
) {
  return defineTransform({
    ...fields(key, what),
    plan: (graph, config) => planPackedLinears(graph, formats, config),
    apply: (graph, plan) => packLinears(graph, plan.matches),
  });
}

function keepMoes<const Key extends string>(
  key: Key,
  formats: readonly PackedFormat[],
  what: string,
) {
  return defineTransform({
    ...fields(key, what),
    plan: (graph, config) => planPackedMoes(graph, formats, config),
    apply: (graph, plan) => packMoes(graph, plan.matches),
  });
}

function fields<const Key extends string>(key: Key, what: string) {
  return {
    key,
    stage: "pattern_matcher" as const,
    summary: `Keep ${what} as codes and scales`,
    base: { after: ["match_moe_pattern"] },
    config: z.object(quantizeFields),
  };
}
