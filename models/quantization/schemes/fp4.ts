/**
 * FP4 (E2M1) matrices, two codes per byte: NVFP4 with scales of two levels, MXFP4 with powers of two.
 *
 * @module
 */

import {
  dequantize,
  packedShape,
  reciprocal,
  reinterpret,
  type Weight,
} from "../../../graph/mod.ts";
import type { Scheme } from "../quantization.ts";
import type { StoredModule } from "../stored_module.ts";

/** Names of NVFP4's tensors, which differ from writer to writer. */
export interface Nvfp4Names {
  readonly codes: string;
  readonly scale: string;
  /** The factor of the whole matrix, or its reciprocal. */
  readonly matrixScale: string;
  readonly isDivisor: boolean;
}

/** `value = E2M1(code) · E4M3(scale of 16 columns) · factor of the matrix`. */
export function nvfp4Scheme({ codes, scale, matrixScale, isDivisor }: Nvfp4Names): Scheme {
  return {
    format: "nvfp4",
    codes,
    codesType: "u8",
    read(module) {
      const shape = packedShape("nvfp4", module.rows, module.columns);
      const payload = module.tensor(codes, shape.payload, ["u8"]);
      module.find(codes, [scale]);
      module.find(codes, [matrixScale]);
      const factor = module.scalar(matrixScale);
      return dequantize("nvfp4", payload, [
        module.tensor(scale, shape.scale, ["f8_e4m3"]),
        isDivisor ? reciprocal(factor) : factor,
      ], inputScaleOf(module));
    },
  };
}

/** `value = E2M1(code) · 2^(scale of 32 columns - 127)`. */
export function mxfp4Scheme(codes: string, scale: string): Scheme {
  return {
    format: "mxfp4",
    codes,
    codesType: "u8",
    read(module) {
      const shape = packedShape("mxfp4", module.rows, module.columns);
      const payload = module.tensor(codes, shape.payload, ["u8"]);
      module.find(codes, [scale]);
      const exponents = module.tensor(scale, shape.scale, ["u8", "f8_e8m0"]);
      return dequantize("mxfp4", payload, [reinterpret(exponents, "u8", shape.scale)]);
    },
  };
}

function inputScaleOf(module: StoredModule): { inputScale?: Weight } {
  return module.has("input_scale") ? { inputScale: module.scalar("input_scale") } : {};
}
