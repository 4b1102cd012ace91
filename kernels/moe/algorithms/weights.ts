/**
 * The stacked weights of a layer as shaders read them, whole or by ranges of experts where a device
 * cannot bind them at once.
 *
 * @module
 */

import { KernelError } from "../../../graph/mod.ts";
import type { ShaderConstants } from "../../compose.ts";
import type { Access, WeightSpec } from "../../access/access.ts";
import type { StepSizes } from "../../kernel.ts";
import { scaleBytes, weightAccess, weightRowBytes } from "../../access/weights.ts";
import { type DeviceMoeSpec, type MoeSlots, upRows } from "../spec.ts";

/** Experts `first..end-1`. */
export interface ExpertRange {
  readonly first: number;
  readonly end: number;
}

/** Which of the two stacked weights. */
export type MoeWeightName = "up" | "down";

/** Offsets of bindings are multiples of this on every WebGPU device. */
const OFFSET_ALIGNMENT = 256;

/** A stacked weight. */
export interface ExpertWeight extends WeightSpec {
  /** Rows of one expert: up and gate together, each a matrix with scales of its own. */
  readonly expertRows: number;
}

/** One of the stacked weights. */
export function moeWeight(
  spec: DeviceMoeSpec,
  slots: MoeSlots,
  which: MoeWeightName,
): ExpertWeight {
  const { format, block } = spec;
  const common = { format, ...(block && { block }) };
  return which === "up"
    ? {
      ...common,
      payload: slots.wUp,
      scales: slots.wUpScales,
      columns: spec.hidden,
      matrixRows: spec.intermediate,
      expertRows: upRows(spec),
    }
    : {
      ...common,
      payload: slots.wDown,
      scales: slots.wDownScales,
      columns: spec.intermediate,
      matrixRows: spec.hidden,
      expertRows: spec.hidden,
    };
}

/**
 * Ranges of experts that a binding can hold, all of them when the weight fits. Raises a
 * {@linkcode KernelError} when not even one does.
 */
export function expertRanges(
  spec: DeviceMoeSpec,
  slots: MoeSlots,
  which: MoeWeightName,
): ExpertRange[] {
  const bytes = expertBytes(spec, slots, which);
  const { experts, profile: { maxBindingBytes } } = spec;
  if (bytes * experts <= maxBindingBytes) return [{ first: 0, end: experts }];
  let unit = 1;
  while ((unit * bytes) % OFFSET_ALIGNMENT !== 0) unit *= 2;
  const size = Math.floor(maxBindingBytes / bytes / unit) * unit;
  if (size === 0) {
    const { payload } = moeWeight(spec, slots, which);
    throw new KernelError(
      "kernel/expert-too-large",
      `Cannot bind weight "${payload.name}" of "${spec.scope}": expected ${unit} experts of ${bytes} bytes within the device's ${maxBindingBytes} bytes a binding, got ${
        unit * bytes
      }`,
      {
        hint: "Quantize the experts, use a device with larger bindings, or use --executor cpu",
        details: { tensor: payload.name, bytes: unit * bytes, limit: maxBindingBytes },
      },
    );
  }
  return Array.from({ length: Math.ceil(experts / size) }, (_, i) => ({
    first: i * size,
    end: Math.min(experts, (i + 1) * size),
  }));
}

/** Access to a range of experts of a weight under a shader's name for it. */
export function expertAccess(
  name: string,
  weight: ExpertWeight,
  range: ExpertRange,
  experts: number,
): Access {
  const whole = range.first === 0 && range.end === experts;
  const part = {
    firstRow: range.first * weight.expertRows,
    rows: (range.end - range.first) * weight.expertRows,
  };
  const access = weightAccess(name, whole ? weight : { ...weight, part });
  return { ...access, constants: { ...access.constants, ...rangeConstants(range) } };
}

/** Bytes of one expert's payload in a weight. */
export function expertBytes(
  spec: DeviceMoeSpec,
  slots: MoeSlots,
  which: MoeWeightName,
): number {
  const { format, columns, expertRows } = moeWeight(spec, slots, which);
  return weightRowBytes(format, columns) * expertRows;
}

/**
 * Bytes of weights, scales included, that a step reads when no two tokens share an expert, for
 * reports: the most it can be. A range of experts counts its share.
 */
export function activeWeightBytes(
  spec: DeviceMoeSpec,
  slots: MoeSlots,
  which: MoeWeightName,
  range: ExpertRange,
): (sizes: StepSizes) => number {
  const scales = scaleBytes(moeWeight(spec, slots, which)) / spec.experts;
  const bytes = expertBytes(spec, slots, which) + scales;
  const share = (range.end - range.first) / spec.experts;
  return ({ T }) => Math.round(Math.min(T * spec.topK, spec.experts) * share * bytes);
}

function rangeConstants({ first, end }: ExpertRange): ShaderConstants {
  return { FIRST_EXPERT: first, END_EXPERT: end };
}
