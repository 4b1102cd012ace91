/**
 * Matrices of plain int8: a scale for the matrix, for each row, or for each group of its columns.
 *
 * @module
 */

import {
  affineScales,
  cast,
  dequantize,
  reshape,
  type ScaleBlock,
  type Weight,
} from "../../../graph/mod.ts";
import type { Scheme } from "../quantization.ts";
import type { StoredModule } from "../stored_module.ts";

/** How the writer stores its scales. */
export interface Int8Options {
  /** `tensor`, or columns that share a scale; 0 for a whole row. */
  readonly groupSize: number | "tensor";
  /** Zero points stand beside the scales. */
  readonly hasZeros: boolean;
}

/** `value = (code - zero) · scale` with codes from -128 to 127. */
export function int8Scheme({ groupSize, hasZeros }: Int8Options): Scheme {
  const format = hasZeros ? "int8_affine" : "int8";
  return {
    format,
    codes: "weight",
    codesType: "i8",
    read(module) {
      const { rows, columns } = module;
      const codes = module.tensor("weight", [rows, columns], ["i8"]);
      module.find("weight", ["weight_scale"]);
      const groups = groupSize === "tensor" || groupSize === 0 ? 1 : Math.ceil(columns / groupSize);
      const block: ScaleBlock = groupSize === "tensor" ? [0, 0] : [1, groupSize];
      const lines = groupSize === "tensor" ? 1 : rows;
      const scale = grid(module, "weight_scale", [lines, groups]);
      if (!hasZeros) return dequantize("int8", codes, [cast(scale, "f32")], { block });
      module.find("weight", ["weight_zero_point"]);
      const zero = grid(module, "weight_zero_point", [lines, groups]);
      return dequantize("int8_affine", codes, [affineScales(scale, zero)], { block });
    },
  };
}

/** A tensor [lines, groups], whose dimensions of 1 may be missing. */
function grid(module: StoredModule, tensor: string, shape: readonly [number, number]): Weight {
  const stored = module.shapeOf(tensor);
  const alike = String(stored.filter((size) => size !== 1)) ===
    String(shape.filter((size) => size !== 1));
  const types = tensor === "weight_zero_point" ? ["i8"] as const : ["f32", "f16", "bf16"] as const;
  return reshape(module.tensor(tensor, alike ? stored : shape, types), shape);
}
