/**
 * RMSNorm over the last dimension, alone or after an addition.
 *
 * @module
 */

import { input, type Value } from "../../graph/mod.ts";
import { type Access, constants, fragments, joinAccess, reads, writes } from "../access/access.ts";
import { dataDependent, type Extent, extentFunction, extentOf } from "../access/extent.ts";
import { f32Literal } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import { defineKernel, type DeviceProfile, type Dispatch, foldGrid, type Rows } from "../kernel.ts";
import { reductionAccess } from "../reduce/reduction.ts";
import withResidual from "./norm_residual.wgsl" with { type: "text" };
import withoutResidual from "./norm_residual_absent.wgsl" with { type: "text" };
import normBody from "./rms_norm.wgsl" with { type: "text" };

/** What is normed, and where it goes. */
export interface NormProblem {
  readonly x: Rows;
  /** Added to x before the norm; the sum goes to `total`. */
  readonly residual?: { readonly value: Rows; readonly total: Rows };
  readonly weight: Value;
  readonly y: Rows;
  readonly rows: Extent;
  readonly columns: number;
  readonly eps: number;
}

const INVOCATIONS = 128;

/** What is added to x, and where the sum goes. */
function residualAccess({ value, total }: NonNullable<NormProblem["residual"]>): Access {
  return joinAccess(
    reads("residual", "f32", value),
    writes("total", "f32", total),
    fragments(withResidual),
  );
}

/** The dispatch of a norm: a workgroup for each row. */
export function normDispatch(problem: NormProblem, profile: DeviceProfile): Dispatch {
  const { x, residual, weight, y, rows, columns, eps } = problem;
  return composeDispatch({
    kernel: residual ? "add_rms_norm" : "rms_norm",
    accesses: [
      constants({ INVOCATIONS, K: columns, EPS: f32Literal(eps, "an epsilon of norms"), SUMS: 1 }),
      reads("x", "f32", x),
      reads("w", "f32", weight),
      writes("y", "f32", y),
      residual ? residualAccess(residual) : fragments(withoutResidual),
      extentFunction("rows_of_step", rows),
      reductionAccess(profile, [{ name: "sum", slots: "SUMS", operation: "add" }]),
    ],
    body: normBody,
    workgroups: (sizes) => foldGrid(rows.of(sizes), profile.maxWorkgroupsPerDimension),
  });
}

/** `rms_norm`: one workgroup a row. */
export const rmsNorm = defineKernel({
  name: "rms_norm",
  op: "rms_norm",
  summary: "one workgroup a row",
  refuse: (node) => dataDependent(node),
  lower(node, { profile }) {
    const x = input(node, "x");
    return [normDispatch({
      x,
      weight: input(node, "w"),
      y: node.outputs[0],
      rows: extentOf(x.shape.slice(0, -1)),
      columns: Number(x.shape.at(-1)),
      eps: node.attrs.eps,
    }, profile)];
  },
});

/** `add_rms_norm`: one workgroup a row, both results in one pass over the inputs. */
export const addRmsNorm = defineKernel({
  name: "add_rms_norm",
  op: "add_rms_norm",
  summary: "one workgroup a row; writes the norm and the sum",
  refuse: (node) => dataDependent(node),
  lower(node, { profile }) {
    const x = input(node, "x");
    const [y, total] = node.outputs;
    return [normDispatch({
      x,
      residual: { value: input(node, "residual"), total },
      weight: input(node, "w"),
      y,
      rows: extentOf(x.shape.slice(0, -1)),
      columns: Number(x.shape.at(-1)),
      eps: node.attrs.eps,
    }, profile)];
  },
});
