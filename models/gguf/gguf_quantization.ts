/**
 * How the packed matrices of a GGUF file read, in the terms of any quantized checkpoint.
 *
 * @module
 */

import { dequantize, type PackedFormat } from "../../graph/mod.ts";
import type { Quantization, Scheme } from "../quantization/quantization.ts";
import type { StoredModule } from "../quantization/stored_module.ts";
import { hasOffsets, type Target } from "./row_codec.ts";

/** A target in words: `int8_affine in groups of 16`. */
export function describeTarget({ format, group }: Target): string {
  return format === "f32" ? format : `${format} in groups of ${group}`;
}

/** What the config of a quantized checkpoint would say; undefined when no module is packed. */
export function quantizationOf(
  targets: ReadonlyMap<string, Target>,
  name: string,
): Quantization | undefined {
  if (targets.size === 0) return undefined;
  const schemes = new Map<string, Scheme>();
  for (const target of targets.values()) {
    const key = describeTarget(target);
    if (!schemes.has(key)) schemes.set(key, schemeOf(target));
  }
  return {
    dialect: "gguf",
    source: `the types of ${name}`,
    formats: [...schemes.keys()],
    exclude: [],
    schemeOf(module) {
      const target = targets.get(module);
      return target && schemes.get(describeTarget(target));
    },
    isExcluded: (module) => !targets.has(module),
  };
}

function schemeOf(target: Target): Scheme {
  const format = target.format as PackedFormat;
  const codesType = format.startsWith("int8") ? "i8" : "u8";
  const scaleType = format === "mxfp4" ? "u8" : "f32";
  return {
    format,
    codes: "weight",
    codesType,
    read(module: StoredModule) {
      const { rows, columns } = module;
      const width = codesType === "i8" ? columns : columns / 2;
      const groups = columns / target.group * (hasOffsets(target) ? 2 : 1);
      return dequantize(
        format,
        module.tensor("weight", [rows, width], [codesType]),
        [module.tensor("weight_scale", [rows, groups], [scaleType])],
        format === "mxfp4" ? {} : { block: [1, target.group] },
      );
    },
  };
}
