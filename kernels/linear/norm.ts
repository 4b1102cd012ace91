/**
 * RMSNorm over the last dimension, alone or after an addition.
 *
 * @module
 */

import { input, type Value } from "../../graph/mod.ts";
import { composeShader, f32Literal } from "../compose.ts";
import { defineKernel, type DeviceProfile, type Dispatch, foldGrid } from "../kernel.ts";
import normBody from "./rms_norm.wgsl" with { type: "text" };
import { joinAccess } from "../access/weights.ts";
import { dataDependent, type Extent, extentOf } from "../access/extent.ts";
import { laneFragments } from "../reduce/lanes.ts";
import { extentFunction, type Rows } from "./problem.ts";

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

const THREADS = 128;

const PLAIN = `fn load_input(i: u32) -> f32 {
  return x[i];
}
fn store_total(i: u32, value: f32) {
}`;

const WITH_RESIDUAL = `fn load_input(i: u32) -> f32 {
  return x[i] + residual[i];
}
fn store_total(i: u32, value: f32) {
  total[i] = value;
}`;

/** The dispatch of a norm: a workgroup for each row. */
export function normDispatch(problem: NormProblem, profile: DeviceProfile): Dispatch {
  const { x, residual, weight, y, rows, columns, eps } = problem;
  const size = extentFunction("rows_of_step", rows);
  const { buffers, fragments } = joinAccess(size);
  const shader = composeShader({
    constants: { THREADS, K: columns, EPS: f32Literal(eps), SUMS: 1 },
    buffers: [
      { name: "x", type: "array<f32>", access: "read", buffer: x },
      { name: "w", type: "array<f32>", access: "read", buffer: weight },
      { name: "y", type: "array<f32>", access: "read_write", buffer: y },
      ...(residual
        ? [
          {
            name: "residual",
            type: "array<f32>",
            access: "read" as const,
            buffer: residual.value,
          },
          {
            name: "total",
            type: "array<f32>",
            access: "read_write" as const,
            buffer: residual.total,
          },
        ]
        : []),
      ...buffers,
    ],
    fragments: [
      ...fragments,
      residual ? WITH_RESIDUAL : PLAIN,
      ...laneFragments(profile, [{ name: "sum", slots: "SUMS", operation: "add" }]),
    ],
    body: normBody,
  });
  return {
    kernel: residual ? "add_rms_norm" : "rms_norm",
    ...shader,
    workgroups: (sizes) => foldGrid(rows.of(sizes), profile.maxWorkgroupsPerDimension),
  };
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
