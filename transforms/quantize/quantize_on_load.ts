/**
 * What `quantize_moe` and `quantize_linear` share.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { PACKED_LAYOUTS, type ScaleBlock, type Value } from "../../graph/mod.ts";
import type { Refusal } from "../core/transform.ts";
import { isExcluded } from "./quantize_from_checkpoint.ts";

/** Fields of both transforms. */
export const onLoadFields = {
  format: z.enum(["fp8_e4m3", "mxfp4", "int8", "int4"]).default("int8").describe(
    "Format the weights are quantized to, rounding to nearest even",
  ),
  block: z.int().positive().nullable().default(null).describe(
    "Columns of a row that share a scale (int8, int4; null is 32), or rows and columns (fp8_e4m3; null is one scale per matrix); mxfp4 always has 32",
  ),
  layers: z.string().default("*").describe(
    "Module paths to quantize; * stands for any characters",
  ),
};

/** Parsed values of {@linkcode onLoadFields}. */
export type OnLoadConfig = z.output<z.ZodObject<typeof onLoadFields>>;

/** Rows and columns of a block; undefined is the format's own. */
export function onLoadBlock({ format, block }: OnLoadConfig): ScaleBlock | undefined {
  if (block === null) return undefined;
  return format === "fp8_e4m3" ? [block, block] : [1, block];
}

/** Patterns that name no layer: a mistake in the configuration, so they are refusals. */
export function unusedPatterns(
  patterns: readonly string[],
  layers: readonly { readonly scope: string }[],
): Refusal[] {
  if (layers.length === 0) return [];
  const [first, last] = [layers[0].scope, layers[layers.length - 1].scope];
  return patterns.filter((pattern) => !layers.some(({ scope }) => isExcluded(scope, [pattern])))
    .map((pattern) => ({
      node: pattern,
      reason: `no layer matches this pattern; the layers are ${first} .. ${last}`,
    }));
}

/** Why a weight cannot be quantized so, or undefined when it can. */
export function refusalOnLoad(value: Value, { format, block }: OnLoadConfig): string | undefined {
  const { weight } = value;
  if (!weight) return `"${value.name}" is not a weight`;
  if (weight.kind === "dequantize") return `"${value.name}" is ${weight.format} in the checkpoint`;
  if (format === "mxfp4" && block !== null && block !== 32) {
    return `a block of ${block} is not possible: mxfp4 has one scale for 32 columns`;
  }
  const columns = weight.shape[weight.shape.length - 1];
  if (PACKED_LAYOUTS[format].codesPerByte === 2 && columns % 2 !== 0) {
    return `"${value.name}" has ${columns} columns, ${format} needs an even number`;
  }
  return undefined;
}
