/**
 * From a configuration to dispatches, and what every WebGPU backend shares.
 *
 * @module
 */

import type { Dispatch } from "../kernel.ts";
import type { MoeConfig } from "./algorithms/config.ts";
import { refuseActivation } from "./algorithms/expert_math.ts";
import { lowerByExpert, lowerBySlot, refuseSlotChoice } from "./algorithms/gemv.ts";
import { lowerGrouped } from "./algorithms/grouped.ts";
import { type Layer, layerOf } from "./algorithms/layer.ts";
import { refuseRounding } from "./algorithms/rounding.ts";
import type { DeviceMoeSpec, MoeSpec, MoeValues } from "./spec.ts";
import type { TunedChoice } from "./tuning/tuned.ts";

/** The dispatches of a layer with a configuration that the device can run. */
export function lowerConfig(
  spec: DeviceMoeSpec,
  values: MoeValues,
  config: MoeConfig,
): readonly Dispatch[] {
  const { layer, dispatches } = layerOf(spec, values);
  return [...dispatches, ...lowerAlgorithm(layer, config)];
}

function lowerAlgorithm(layer: Layer, config: MoeConfig): readonly Dispatch[] {
  switch (config.algorithm) {
    case "slots":
      return lowerBySlot(layer, config);
    case "experts":
      return lowerByExpert(layer, config);
    default:
      return lowerGrouped(layer, config);
  }
}

/** Why a configuration wants experts that are chosen, or undefined when its kernels choose them. */
export function refuseChoice(config: MoeConfig, spec: DeviceMoeSpec): string | undefined {
  if (config.algorithm !== "slots") return `kernels of "${config.algorithm}" want chosen experts`;
  return refuseSlotChoice(config, spec);
}

/** Why no WebGPU backend can serve a layer, or undefined when they can. */
export function refuseLayer(spec: MoeSpec): string | undefined {
  const storage = spec.profile?.maxWorkgroupStorageBytes ?? 16384;
  // The sort counts every expert in workgroup memory.
  if (spec.experts * 4 + 256 * 8 > storage) {
    return `cannot sort ${spec.experts} experts in ${storage} bytes of workgroup memory`;
  }
  return refuseOperands(spec) ?? refuseRounding(spec) ?? refuseActivation(spec);
}

function refuseOperands({ operands, profile }: MoeSpec): string | undefined {
  if (operands !== "f16" || profile?.shaderF16 !== false) return undefined;
  return "cannot keep operands in f16: the device has no shader-f16";
}

/** One line on a configuration and where it comes from. */
export function describeConfig(config: MoeConfig, spec: MoeSpec, tuned?: TunedChoice): string {
  const { min, max } = spec.tokens;
  const range = min === max ? `${max} tokens` : `${min}..${max} tokens`;
  const source = tuned ? `row ${tuned.key} of ${tuned.path}` : "heuristic";
  return `${range}: ${describe(config)}${describeOperands(config, spec)} (${source})`;
}

/** What became of f16 operands; nothing where nobody asked for them. */
function describeOperands(config: MoeConfig, { operands }: MoeSpec): string {
  if (operands === "f32") return "";
  const halves = "blockM" in config
    ? (["up", "down"] as const).filter((which) => {
      const { staging } = config[which];
      return staging === "matrices" || (staging === "both" && operands === "f16");
    })
    : [];
  if (operands === "auto" && halves.length === 0) return "";
  if (halves.length === 0) return ", f32 operands: its kernels have no others";
  return halves.length === 2
    ? ", f16 operands"
    : `, f16 operands in the ${halves[0]} product alone`;
}

/** What goes through workgroup memory. */
const STAGED = {
  both: "both staged",
  rows: "rows staged",
  none: "nothing staged",
  matrices: "matrices",
};

function describe(config: MoeConfig): string {
  switch (config.algorithm) {
    case "slots":
      return `slot by slot, ${config.lanes} lanes`;
    case "experts":
      return `expert by expert, ${config.lanes} lanes, ${config.columns} pairs at a time`;
    default:
      return `${config.algorithm} GEMM in blocks of ${config.blockM}x${config.up.blockN}, ` +
        STAGED[config.up.staging];
  }
}
