/**
 * FP8 (E4M3) matrices: one scale for the matrix, for each row, or for each block.
 *
 * @module
 */

import {
  cast,
  dequantize,
  type DType,
  type PackedFormat,
  packedShape,
  reshape,
  type ScaleBlock,
  type Weight,
} from "../../../graph/mod.ts";
import type { Scheme } from "../quantization.ts";
import type { StoredModule } from "../stored_module.ts";

/** How the writer stores its scales. */
export interface Fp8Options {
  /** Rows and columns that share a scale; absent: the matrix or a row, as the scale's shape says. */
  readonly block?: ScaleBlock;
  /** Names of the scale tensor, in the order they are looked for. */
  readonly scales?: readonly string[];
}

/** Names that writers give the scales. */
export const FP8_SCALES = ["weight_scale_inv", "weight_scale"] as const;

/** Types of scales; E8M0 is a power of two. */
const SCALE_TYPES: readonly DType[] = ["f32", "f16", "bf16", "f8_e8m0"];

/** Blocks whose scales are one for a row: one row, all columns. */
const ROW: ScaleBlock = [1, 0];

/** `value = E4M3(code) · scale`, whatever the scale's name; `_inv` does not mean a divisor. */
export function fp8Scheme({ block, scales = FP8_SCALES }: Fp8Options = {}): Scheme {
  const format: PackedFormat = block ? "fp8_block" : "fp8_e4m3";
  return {
    format,
    codes: "weight",
    codesType: "f8_e4m3",
    read(module) {
      const { rows, columns } = module;
      const codes = module.tensor("weight", [rows, columns], ["f8_e4m3"]);
      const scale = module.find("weight", scales);
      const inputScale = module.has("input_scale") ? module.scalar("input_scale") : undefined;
      if (block) {
        const grid = blockScales(module, scale, block);
        return dequantize(format, codes, [grid], { block, ...(inputScale && { inputScale }) });
      }
      if (isOneForEachRow(module, scale)) {
        const each = reshape(
          cast(module.tensor(scale, module.shapeOf(scale), SCALE_TYPES), "f32"),
          [rows, 1],
        );
        return dequantize(format, codes, [each], { block: ROW, ...(inputScale && { inputScale }) });
      }
      const single = reshape(module.scalar(scale), [1, 1]);
      return dequantize(format, codes, [single], inputScale && { inputScale });
    },
  };
}

/** A grid of scales; ModelOpt writes it with a dimension of 1 behind each of its own. */
function blockScales(module: StoredModule, scale: string, block: ScaleBlock): Weight {
  const { scale: grid } = packedShape("fp8_block", module.rows, module.columns, block);
  const spaced = [grid[0], 1, grid[1], 1];
  const stored = String(module.shapeOf(scale)) === String(spaced) ? spaced : grid;
  return reshape(cast(module.tensor(scale, stored, SCALE_TYPES), "f32"), grid);
}

/** Shapes [rows] and [rows, 1]; a matrix of one row has one scale either way. */
function isOneForEachRow(module: StoredModule, scale: string): boolean {
  const [first, ...others] = module.shapeOf(scale);
  return first === module.rows && first > 1 && others.every((size) => size === 1);
}
