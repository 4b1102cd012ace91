/**
 * A linear layer as its kernels see it: what is multiplied, what is added, and which buffers.
 *
 * @module
 */

import { f32Literal, instantiate } from "../compose.ts";
import type { Value } from "../../graph/mod.ts";
import type { Access, WeightSpec } from "../access/access.ts";
import { scaleBytes, weightRowBytes } from "../access/weights.ts";
import type { DeviceProfile, Scratch } from "../kernel.ts";
import { type Extent, STEP_BUFFER } from "../access/extent.ts";
import absentAdd from "../access/absent_add.wgsl" with { type: "text" };
import presentAdd from "../access/present_add.wgsl" with { type: "text" };
import presentAddVec4 from "../access/present_add_vec4.wgsl" with { type: "text" };

/** Memory that holds f32 rows. */
export type Rows = Value | Scratch;

/** How rows are rounded: with the checkpoint's scale [1], or with one for so many columns of a row. */
export type Rounding =
  | { readonly kind: "static"; readonly scale: Value }
  | { readonly kind: "dynamic"; readonly columns: number };

/** y = rms_norm(x) · wᵀ + bias + residual, each part but the product optional. */
export interface LinearProblem {
  /** Name of the op or part, which the kernels' names start with. */
  readonly name: string;
  readonly x: Rows;
  readonly y: Rows;
  readonly weight: WeightSpec;
  /** Rows of x, in a step and at most. */
  readonly rows: Extent;
  readonly largestRows: number;
  /** Rows of the weight. */
  readonly outputs: number;
  readonly bias?: Value;
  readonly residual?: Rows;
  readonly norm?: { readonly weight: Value; readonly eps: number };
  /** What happens to the rows, after the norm, in front of the product. */
  readonly rounding?: Rounding;
}

/** Rows of the weight that one dispatch reads. */
export interface RowRange {
  readonly first: number;
  readonly end: number;
}

/** An operand that is added, or nothing: `name_at(i)` and `name_quad(i)`. */
export function addend(name: string, buffer: Rows | undefined, quads: boolean): Access {
  if (!buffer) {
    return { buffers: [], fragments: [instantiate(absentAdd, { NAME: name })], constants: {} };
  }
  const type = quads ? "array<vec4<f32>>" : "array<f32>";
  return {
    buffers: [{ name, type, access: "read", buffer }],
    fragments: [instantiate(quads ? presentAddVec4 : presentAdd, { NAME: name })],
    constants: {},
  };
}

/** A function without parameters for a size: the number itself, or one that reads the step. */
export function extentFunction(name: string, extent: Extent): Access {
  return {
    buffers: extent.fixed ? [] : [STEP_BUFFER],
    fragments: [`fn ${name}() -> u32 {\n  return ${extent.wgsl};\n}`],
    constants: {},
  };
}

/**
 * The weight in parts that a binding can hold: whole multiples of `step` rows, at offsets that
 * devices can bind.
 */
export function weightParts(
  { weight, outputs }: Pick<LinearProblem, "weight" | "outputs">,
  profile: Pick<DeviceProfile, "maxBindingBytes">,
  step: number,
): RowRange[] {
  const rowBytes = weightRowBytes(weight.format, weight.columns);
  const limit = Math.floor(profile.maxBindingBytes / rowBytes);
  if (outputs <= limit) return [{ first: 0, end: outputs }];
  let unit = step;
  while ((unit * rowBytes) % 256 !== 0) unit *= 2;
  const size = Math.max(unit, Math.floor(limit / unit) * unit);
  return Array.from({ length: Math.ceil(outputs / size) }, (_, i) => ({
    first: i * size,
    end: Math.min(outputs, (i + 1) * size),
  }));
}

/** The weight bound in part, unless the part is all of it. */
export function weightPart(problem: LinearProblem, { first, end }: RowRange): WeightSpec {
  if (first === 0 && end === problem.outputs) return problem.weight;
  return { ...problem.weight, part: { firstRow: first, rows: end - first } };
}

/** Bytes of the rows of a weight and of their share of its scales, for reports. */
export function weightBytes(
  { weight, outputs }: LinearProblem,
  { first, end }: RowRange,
): () => number {
  const rows = end - first;
  const scales = Math.round((scaleBytes(weight) * rows) / outputs);
  const bytes = rows * weightRowBytes(weight.format, weight.columns) + scales;
  return () => bytes;
}

/** Epsilon as a constant. */
export function epsilon(norm: LinearProblem["norm"]): string {
  return f32Literal(norm?.eps ?? 0);
}
