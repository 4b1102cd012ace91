/**
 * Packed weights as the inputs of a linear layer.
 *
 * @module
 */

import { PACKED_LAYOUTS, type PackedFormat, packedShape, quantizeMatrix } from "../../graph/mod.ts";
import { type OpInput, randomWeight } from "./op_case.ts";

/** A random weight [n, k] quantized, as the inputs of a linear layer. */
export function packedInputs(
  format: PackedFormat,
  n: number,
  k: number,
  block: readonly [number, number] | undefined,
  scale = 1,
): Record<string, OpInput> {
  const plain = randomWeight("f32", [n, k], 2, scale);
  const matrix = quantizeMatrix(format, plain.data as Float32Array, n, k, block);
  const shape = packedShape(format, n, k, block);
  const { payloadDtype, scaleDtype, secondScale } = PACKED_LAYOUTS[format];
  return {
    w: { weight: true, dtype: payloadDtype, shape: shape.payload, data: matrix.payload },
    w_scale: { weight: true, dtype: scaleDtype, shape: shape.scale, data: matrix.scale },
    ...(secondScale && {
      w_scale_2: {
        weight: true,
        dtype: "f32",
        shape: [1],
        data: Float32Array.of(matrix.secondScale),
      },
    }),
  };
}
