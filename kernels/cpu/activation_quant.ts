/**
 * Rounding of activations before a matrix product, for checkpoints that quantize them.
 *
 * @module
 */

import {
  type AttrsOf,
  E4M3_MAX,
  E4M3_VALUES,
  encodeE4M3,
  type HostTensor,
  KernelError,
  type PackedLinearAttrs,
} from "../../graph/mod.ts";
import type { CpuInputs } from "./kernel.ts";
import { floats } from "./numbers.ts";

type Floats = Float32Array<ArrayBuffer>;

/**
 * What `fused_moe` does to the input of an expert (`x_scale`) and to its activated product
 * (`act_scale`); undefined when nothing is rounded.
 *
 * `static`: E4M3(clamp(x / s, ±448)) · s, with one s for all experts or one each. `dynamic`: the
 * same with s = amax / 448 of every `block` columns of a token (no block: of the whole token).
 */
export function quantizeActivations(inputs: CpuInputs, attrs: AttrsOf<"fused_moe">) {
  const { activationQuant, format, block } = attrs;
  if (activationQuant === "none") return undefined;
  if (format !== "fp8_e4m3" && format !== "fp8_block") {
    throw new KernelError(
      "kernel/activation-quant",
      `Cannot round activations of a "${format}" layer: expected an FP8 format, got "${format}"`,
      { hint: 'Set activation quantization to "none" for this layer' },
    );
  }
  const width = { input: attrs.hidden, activated: attrs.intermediate };
  if (activationQuant === "dynamic") {
    return (values: Floats, stage: "input" | "activated") =>
      roundDynamic(values, width[stage], block?.[1] || width[stage]);
  }
  const scales = {
    input: requiredScale(inputs.maybe("x_scale"), "x_scale"),
    activated: requiredScale(inputs.maybe("act_scale"), "act_scale"),
  };
  return (values: Floats, stage: "input" | "activated", expert: number) => {
    const own = scales[stage];
    const scale = own.length === 1 ? own[0] : own[expert];
    return values.map((value) => roundE4M3(value, scale));
  };
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
