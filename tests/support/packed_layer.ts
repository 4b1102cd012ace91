/**
 * Random MoE layers with packed weights, as cases of `fused_moe`.
 *
 * @module
 */

import {
  type ActivationQuant,
  PACKED_LAYOUTS,
  type PackedFormat,
  type PackedMatrix,
  packedShape,
  quantizeMatrix,
  type ScaleBlock,
} from "../../graph/mod.ts";
import { invariant } from "../../graph/mod.ts";
import { type LayerOptions, moeLayer } from "./moe_layer.ts";
import type { OpCase, OpInput } from "./op_case.ts";

/** What to vary besides the layer itself. */
export interface PackedOptions extends Omit<LayerOptions, "dtype"> {
  readonly format: PackedFormat;
  readonly block?: ScaleBlock;
  readonly activationQuant?: ActivationQuant;
  /** Input scales of the two products, for static rounding: one, or one for each expert. */
  readonly inputScales?: "one" | "each";
}

/** A layer of {@linkcode moeLayer} with its weights quantized, matrix by matrix. */
export function packedLayer(options: PackedOptions): OpCase<"fused_moe"> {
  const { format, block, activationQuant = "none", inputScales = "one" } = options;
  const plain = moeLayer({ ...options, dtype: "f32" });
  const { attrs, inputs } = plain;
  const { experts, intermediate, hidden, mlp } = attrs;
  const matrices = experts * (mlp === "gated" ? 2 : 1);
  const scales = (factor: number): OpInput => {
    const count = inputScales === "one" ? 1 : experts;
    const data = Float32Array.from({ length: count }, (_, e) => factor * (1 + e / 7));
    return { dtype: "f32", shape: [count], data, weight: true };
  };
  return {
    ...plain,
    attrs: { ...attrs, format, activationQuant, ...(block && { block }) },
    inputs: {
      ...inputs,
      ...pack("w_up", inputs.w_up, format, matrices, intermediate, hidden, block),
      ...pack("w_down", inputs.w_down, format, experts, hidden, intermediate, block),
      // Small enough that some numbers saturate.
      ...(activationQuant === "static" &&
        { x_scale: scales(1 / 600), act_scale: scales(1 / 2000) }),
    },
  };
}

function pack(
  name: string,
  weight: OpCase<"fused_moe">["inputs"][string],
  format: PackedFormat,
  count: number,
  rows: number,
  columns: number,
  block: ScaleBlock | undefined,
): Record<string, OpInput> {
  invariant(weight && "data" in weight && weight.data instanceof Float32Array, `${name} is f32`);
  const { data } = weight;
  const parts: PackedMatrix[] = Array.from({ length: count }, (_, i) => {
    const values = data.subarray(i * rows * columns, (i + 1) * rows * columns);
    return quantizeMatrix(format, values, rows, columns, block);
  });
  const shape = packedShape(format, rows, columns, block);
  const { payloadDtype, scaleDtype, secondScale } = PACKED_LAYOUTS[format];
  const stored = weight.shape.with(-1, shape.payload[1]);
  const seconds = Float32Array.from(parts, (part) => part.secondScale);
  const input = (dtype: OpInput["dtype"], of: OpInput["shape"], values: OpInput["data"]) => ({
    dtype,
    shape: of,
    data: values,
    weight: true,
  });
  return {
    [name]: input(payloadDtype, stored, bytes(parts.map(({ payload }) => payload))),
    [`${name}_scale`]: input(
      scaleDtype,
      [count, ...shape.scale],
      scaleDtype === "f32"
        ? Float32Array.from(parts.flatMap(({ scale }) => [...scale]))
        : bytes(parts.map(({ scale }) => scale)),
    ),
    ...(secondScale && { [`${name}_scale_2`]: input("f32", [count], seconds) }),
  };
}

function bytes(parts: readonly (Uint8Array | Float32Array)[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}
