/**
 * A linear layer as its kernels see it: what is multiplied, what is added, and which buffers.
 *
 * @module
 */

import type { MoeOperands, Value } from "../../graph/mod.ts";
import { type Access, fragments, joinAccess, type WeightSpec, writes } from "../access/access.ts";
import type { Extent } from "../access/extent.ts";
import { operandAccess } from "../access/operand.ts";
import { scaleBytes, weightRowBytes } from "../access/weights.ts";
import { f32Literal } from "../compose.ts";
import type { DeviceProfile, Rows } from "../kernel.ts";
import storeRagged from "./gemm_store_ragged.wgsl" with { type: "text" };
import storeVec4 from "./gemm_store_vec4.wgsl" with { type: "text" };

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
  /** What products of many rows may keep operands in; f32 when absent. */
  readonly operands?: MoeOperands;
}

/** Rows of the weight that one dispatch reads. */
export interface RowRange {
  readonly first: number;
  readonly end: number;
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
  return f32Literal(norm?.eps ?? 0, "an epsilon of norms");
}

/** Where a tile's results go, and what is added to them: `store_quad(row, column, sum)`. */
export function storeAccess(
  { y, bias, residual, outputs }: Pick<LinearProblem, "y" | "bias" | "residual" | "outputs">,
  finish: Access,
): Access {
  const quads = outputs % 4 === 0;
  const form = quads ? "quads" : "numbers and quads";
  return joinAccess(
    operandAccess("bias", bias, form),
    operandAccess("residual", residual, form),
    finish,
    writes("y", quads ? "vec4<f32>" : "f32", y),
    fragments(quads ? storeVec4 : storeRagged),
  );
}
