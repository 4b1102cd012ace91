/**
 * Rounding of activations before a matrix product, for checkpoints that quantize them.
 *
 * @module
 */

import {
  type ActivationQuant,
  E4M3_MAX,
  E4M3_VALUES,
  encodeE4M3,
  type HostTensor,
  KernelError,
  type PackedLinearAttrs,
  type WeightFormat,
} from "../../graph/mod.ts";
import type { CpuInputs } from "./kernel.ts";
import { floats } from "./numbers.ts";

type Floats = Float32Array<ArrayBuffer>;

/** How a layer's activations are rounded, as its attributes say. */
interface RoundingAttrs {
  readonly format?: WeightFormat;
  readonly block?: readonly [number, number];
  readonly activationQuant?: ActivationQuant;
}

/**
 * What happens to rows of `columns` elements before an expert's product; undefined for nothing.
 *
 * `static`: E4M3(clamp(x / s, ±448)) · s with `s` from `scale`, which holds one for all experts or
 * one each. `dynamic`: the same with s = amax / 448 of every `block` columns of a token (no block:
 * of the whole token).
 */
export function expertRounding(
  { format, block, activationQuant = "none" }: RoundingAttrs,
  columns: number,
  scale: { readonly name: string; readonly tensor: HostTensor | undefined; readonly index: number },
): ((values: Floats) => Floats) | undefined {
  if (activationQuant === "none") return undefined;
  if (format !== "fp8_e4m3" && format !== "fp8_block") {
    throw new KernelError(
      "kernel/activation-quant",
      `Cannot round activations of experts: expected weights in an FP8 format, got "${format}"`,
      { hint: 'Set activation quantization to "none" for this layer' },
    );
  }
  if (activationQuant === "dynamic") {
    return (values) => roundDynamic(values, columns, block?.[1] || columns);
  }
  const scales = requiredScale(scale.tensor, scale.name);
  const own = scales.length === 1 ? scales[0] : scales[scale.index];
  return (values) => values.map((value) => roundE4M3(value, own));
}

/** The input of a linear layer, rounded as its attributes say; the same array when they do not. */
export function roundLinearInput(
  x: Floats,
  columns: number,
  inputs: CpuInputs,
  attrs: PackedLinearAttrs,
): Floats {
  const { activationQuant = "none", block } = attrs;
  if (activationQuant === "none") return x;
  if (activationQuant === "dynamic") return roundDynamic(x, columns, block?.[1] || columns);
  const [scale] = requiredScale(inputs.maybe("x_scale"), "x_scale");
  return x.map((value) => roundE4M3(value, scale));
}

function requiredScale(scale: HostTensor | undefined, name: string): Floats {
  if (scale) return floats(scale);
  throw new KernelError(
    "kernel/missing-scale",
    `Cannot round activations with a static scale: expected input "${name}", got none`,
  );
}

function roundDynamic(values: Floats, width: number, group: number): Floats {
  const result = new Float32Array(values.length);
  for (let row = 0; row < values.length; row += width) {
    for (let column = 0; column < width; column += group) {
      const [start, end] = [row + column, row + Math.min(width, column + group)];
      let amax = 0;
      for (let i = start; i < end; i++) amax = Math.max(amax, Math.abs(values[i]));
      const scale = Math.fround(amax / E4M3_MAX) || 1;
      for (let i = start; i < end; i++) result[i] = roundE4M3(values[i], scale);
    }
  }
  return result;
}

function roundE4M3(value: number, scale: number): number {
  return E4M3_VALUES[encodeE4M3(Math.fround(value / scale))] * scale;
}
