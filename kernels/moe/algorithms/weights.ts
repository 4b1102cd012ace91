/**
 * The stacked weights of a layer as shaders read them, whole or by ranges of experts where a device
 * cannot bind them at once.
 *
 * @module
 */

import { isPacked, KernelError, type Value, type WeightFormat } from "../../../graph/mod.ts";
import { type Access, constants, joinAccess, type WeightSpec } from "../../access/access.ts";
import {
  placeAccess,
  scaleBytes,
  weightAccess,
  weightRowBytes,
  wordChunks,
} from "../../access/weights.ts";
import type { DeviceProfile, StepSizes } from "../../kernel.ts";
import { type DeviceMoeSpec, type MoeValues, upRows } from "../spec.ts";

/** Experts `first..end-1`. */
export interface ExpertRange {
  readonly first: number;
  readonly end: number;
}

/** Which of the two stacked weights. */
export type MoeWeightName = "up" | "down";

/** Offsets of bindings are multiples of this on every WebGPU device. */
const OFFSET_ALIGNMENT = 256;

/** A stacked weight, with what belongs to its product. */
export interface ExpertWeight extends WeightSpec {
  readonly which: MoeWeightName;
  readonly experts: number;
  /** Rows of one expert: up and gate together, each a matrix with scales of its own. */
  readonly expertRows: number;
  readonly bias?: Value;
  /** Scale of the rows in front of it, where they are rounded with one of the checkpoint. */
  readonly inputScale?: Value;
}

/** Both weights of a layer. */
export function expertWeights(
  spec: DeviceMoeSpec,
  values: MoeValues,
): Readonly<Record<MoeWeightName, ExpertWeight>> {
  const { format, block, experts, hidden, intermediate, profile } = spec;
  const common = { format, experts, ...(block && { block }) };
  const interleaved = (columns: number) => prefersInterleaved(format, columns, profile);
  return {
    up: {
      ...common,
      which: "up",
      payload: values.wUp,
      scales: values.wUpScales,
      columns: hidden,
      interleaved: interleaved(hidden),
      matrixRows: intermediate,
      expertRows: upRows(spec),
      bias: values.bUp,
      inputScale: values.xScale,
    },
    down: {
      ...common,
      which: "down",
      payload: values.wDown,
      scales: values.wDownScales,
      columns: intermediate,
      interleaved: interleaved(intermediate),
      matrixRows: hidden,
      expertRows: hidden,
      bias: values.bDown,
      inputScale: values.actScale,
    },
  };
}

/**
 * Whether rows of experts are interleaved: two words for each invocation of a subgroup are worth it, with
 * fewer an H100 reads words of one chunk as fast (docs/lab_notes.md). A CPU has no neighbours that would
 * read x side by side, and NVFP4 no interleaved form.
 */
export function prefersInterleaved(
  format: WeightFormat,
  columns: number,
  { software, subgroupSize }: DeviceProfile,
): boolean {
  return isPacked(format) && format !== "nvfp4" && !software &&
    columns >= 2 * subgroupSize * 8 * wordChunks(format);
}

/**
 * Ranges of experts that a binding can hold, all of them when the weight fits. Raises a
 * {@linkcode KernelError} when not even one does.
 */
export function expertRanges(
  { scope, profile: { maxBindingBytes } }: DeviceMoeSpec,
  weight: ExpertWeight,
): ExpertRange[] {
  const bytes = expertBytes(weight);
  const { experts, payload } = weight;
  if (bytes * experts <= maxBindingBytes) return [{ first: 0, end: experts }];
  let unit = 1;
  while ((unit * bytes) % OFFSET_ALIGNMENT !== 0) unit *= 2;
  const size = Math.floor(maxBindingBytes / bytes / unit) * unit;
  if (size === 0) {
    throw new KernelError(
      "kernel/expert-too-large",
      `Cannot bind weight "${payload.name}" of "${scope}": expected ${unit} experts of ${bytes} bytes within the device's ${maxBindingBytes} bytes a binding, got ${
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
export function expertAccess(name: string, weight: ExpertWeight, range: ExpertRange): Access {
  const { first, end } = range;
  const whole = first === 0 && end === weight.experts;
  const part = { firstRow: first * weight.expertRows, rows: (end - first) * weight.expertRows };
  return joinAccess(
    weightAccess(name, whole ? weight : { ...weight, part }),
    placeAccess(name, weight),
    constants({ FIRST_EXPERT: first, END_EXPERT: end }),
  );
}

/** Words of a row under any shader's name. */
export function wordsOfRow(weight: ExpertWeight): number {
  return Number(weightAccess("w", weight).constants.w_WORDS);
}

/** Bytes of one expert's payload in a weight. */
export function expertBytes({ format, columns, expertRows }: ExpertWeight): number {
  return weightRowBytes(format, columns) * expertRows;
}

/**
 * Bytes of weights, scales included, that a step reads when no two tokens share an expert, for
 * reports: the most it can be. A range of experts counts its share.
 */
export function activeWeightBytes(
  { topK }: DeviceMoeSpec,
  weight: ExpertWeight,
  { first, end }: ExpertRange,
): (sizes: StepSizes) => number {
  const { experts } = weight;
  const bytes = expertBytes(weight) + scaleBytes(weight) / experts;
  const share = (end - first) / experts;
  return ({ T }) => Math.round(Math.min(T * topK, experts) * share * bytes);
}
