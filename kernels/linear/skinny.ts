/**
 * Linear layers of some tens of rows: weights go straight to registers, rows of x are staged.
 *
 * @module
 */

import { constants, writes } from "../access/access.ts";
import { extentFunction } from "../access/extent.ts";
import { chunkOperand, operandAccess } from "../access/operand.ts";
import { rowsAccess } from "../access/rows.ts";
import { weightAccess } from "../access/weights.ts";
import { composeDispatch } from "../dispatch.ts";
import type { DeviceProfile, Dispatch } from "../kernel.ts";
import { laneSum } from "../reduce/lane_sum.ts";
import {
  epsilon,
  type LinearProblem,
  type RowRange,
  weightBytes,
  weightPart,
  weightParts,
} from "./problem.ts";
import skinnyBody from "./skinny.wgsl" with { type: "text" };

/** Sizes that a tuner may choose. */
export interface SkinnyShape {
  /** Invocations of a workgroup; a power of two. */
  readonly threads: number;
  /** Neighbours that share the depth of a weight row; a power of two, at least 4. */
  readonly lanes: number;
  /** Weight rows of an invocation. */
  readonly outputs: number;
  /** Rows of x that one workgroup takes; a multiple of 4. */
  readonly rows: number;
}

/** Rows of x up to which a weight is read straight from memory; above, its tiles are shared. */
export const SKINNY_MAX_ROWS = 64;
/** The same where the rows of the weight alone give tiles enough, as those of a vocabulary do. */
const MANY_OUTPUTS = { outputs: 32768, rows: 32 };

/** Rows of x up to which this kernel serves a weight: none on a CPU, whose caches hold tiles. */
export function skinnyRows(outputs: number, { software }: DeviceProfile): number {
  if (software) return 0;
  return outputs >= MANY_OUTPUTS.outputs ? MANY_OUTPUTS.rows : SKINNY_MAX_ROWS;
}

/**
 * Sizes for a problem, as measured on an H100 (docs/lab_notes.md). Many weight rows give work enough
 * for few lanes to each; with fewer, more lanes share a row. From 33 rows of x on 16 share a reading,
 * or as many as there is workgroup memory for where words are long.
 */
export function skinnyShape(
  { outputs, largestRows, weight }: LinearProblem,
  profile: DeviceProfile,
): SkinnyShape {
  const lanes = outputs >= 4096 ? 8 : 16;
  const chunks = Number(weightAccess("w", weight).constants.w_CHUNKS);
  const shape = (rows: number): SkinnyShape => ({
    ...{ threads: lanes === 16 && rows === 8 ? 64 : 128, lanes, outputs: 4, rows },
  });
  const fits = (rows: number) =>
    storageBytes(shape(rows), chunks, profile) <= profile.maxWorkgroupStorageBytes;
  return shape((largestRows > 32 ? [16, 8] : [8]).find(fits) ?? 4);
}

/** Workgroup memory in bytes: two tiles of rows, the squares of a norm, and sums without subgroups. */
function storageBytes(
  { threads, lanes, rows }: SkinnyShape,
  chunks: number,
  { subgroups }: DeviceProfile,
): number {
  return rows * lanes * chunks * (2 * 32 + 4) + (subgroups ? 0 : threads * 16);
}

/** The dispatches of a problem: one, or one for each part of a weight that no binding can hold. */
export function skinnyDispatches(
  problem: LinearProblem,
  profile: DeviceProfile,
  shape: SkinnyShape = skinnyShape(problem, profile),
): Dispatch[] {
  const tile = (shape.threads / shape.lanes) * shape.outputs;
  return weightParts(problem, profile, tile).map((part) =>
    skinnyDispatch(problem, profile, shape, part)
  );
}

function skinnyDispatch(
  problem: LinearProblem,
  profile: DeviceProfile,
  shape: SkinnyShape,
  part: RowRange,
): Dispatch {
  const { weight, x, y, norm, bias, residual, rows, outputs } = problem;
  const w = weightAccess("w", weightPart(problem, part));
  const pieces = shape.rows * shape.lanes * Number(w.constants.w_CHUNKS);
  const tile = (shape.threads / shape.lanes) * shape.outputs;
  const tiles = Math.ceil((part.end - part.first) / tile);
  return composeDispatch({
    kernel: `${problem.name}_skinny`,
    accesses: [
      w,
      rowsAccess("x", weight.columns, { buffer: x }),
      chunkOperand("norm", weight.columns, norm?.weight, 1),
      operandAccess("bias", bias, "numbers"),
      operandAccess("residual", residual, "numbers"),
      extentFunction("rows_of_step", rows),
      constants({
        INVOCATIONS: shape.threads,
        LANES: shape.lanes,
        THREAD_OUTPUTS: shape.outputs,
        BLOCK_ROWS: shape.rows,
        ROW_QUADS: shape.rows / 4,
        X_ROUNDS: Math.ceil(pieces / shape.threads),
        N: outputs,
        N_FIRST: part.first,
        N_END: part.end,
        NORM: norm !== undefined,
        EPS: epsilon(norm),
      }),
      writes("y", "f32", y),
      laneSum(profile, shape.lanes),
    ],
    body: skinnyBody,
    workgroups: (sizes) => [Math.ceil(rows.of(sizes) / shape.rows), tiles, 1],
    weightBytes: weightBytes(problem, part),
  });
}
