/**
 * Linear layers of few rows: the weight is read once and the reading is all that takes time.
 *
 * @module
 */

import {
  type Access,
  constants,
  fragments,
  joinAccess,
  type WeightSpec,
  writes,
} from "../access/access.ts";
import { extentFunction } from "../access/extent.ts";
import { chunkOperand, operandAccess } from "../access/operand.ts";
import { rowsAccess } from "../access/rows.ts";
import { weightAccess } from "../access/weights.ts";
import { instantiate } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import { type DeviceProfile, type Dispatch, foldGrid } from "../kernel.ts";
import { narrowWorkgroup, reductionAccess } from "../reduce/reduction.ts";
import gemvBody from "./gemv.wgsl" with { type: "text" };
import multiplyText from "./gemv_multiply.wgsl" with { type: "text" };
import {
  epsilon,
  type LinearProblem,
  type RowRange,
  weightBytes,
  weightPart,
  weightParts,
} from "./problem.ts";

/** Sizes that a tuner may choose. */
export interface GemvShape {
  /** Invocations of a workgroup; a power of two. */
  readonly threads: number;
  /** Rows of the weight a workgroup owns. */
  readonly rows: number;
  /** Rows of x that share one reading of the weight. */
  readonly columns: number;
  /** Words of each row that an invocation has in flight. */
  readonly unroll: number;
}

/** Rows of x that one workgroup takes at most: their sums are registers. */
export const GEMV_MAX_COLUMNS = 8;

/**
 * Sizes for a problem. Rows are the parallelism: an H100 reads fastest with one or two rows a
 * subgroup and four words in flight, unless rows are many (docs/lab_notes.md).
 */
export function gemvShape(problem: LinearProblem, profile: DeviceProfile): GemvShape {
  const { outputs, largestRows } = problem;
  const columns = Math.min(largestRows, GEMV_MAX_COLUMNS);
  const words = wordsOf(problem.weight);
  if (profile.software) return softwareShape(columns, outputs);
  if (columns > 4) return columnsShape(outputs, columns, profile);
  const rows = outputs >= 32768 ? 4 : outputs >= 4096 || columns > 2 ? 2 : 1;
  const narrow = narrowWorkgroup(profile);
  const threads = outputs < 1024 && words >= 8 * narrow ? Math.min(128, 4 * narrow) : narrow;
  return { threads, rows, columns, unroll: unrollFor(Math.floor(words / threads), rows * columns) };
}

/**
 * Sizes for many rows of x. An invocation reads eight of them for each word of the weight, so that
 * four rows of it must share the reading, and where there are few rows two subgroups share each. An
 * H100 takes 21 us for 6144 x 2048 and eight rows of x, and 32 with two rows a subgroup.
 */
function columnsShape(outputs: number, columns: number, profile: DeviceProfile): GemvShape {
  const narrow = narrowWorkgroup(profile);
  const threads = outputs >= 4096 ? narrow : 2 * narrow;
  return { threads: Math.min(profile.maxInvocations, threads), rows: 4, columns, unroll: 1 };
}

/**
 * Sizes for a CPU, which gains nothing from many invocations and begins every workgroup anew: few of
 * both, and more rows for each. llvmpipe takes 0.6 of the time that 32 invocations with one row take.
 * Words in flight gain nothing there and take as long again to compile; four rows by four columns run
 * as fast as by eight, and of a small matrix by two.
 */
function softwareShape(columns: number, outputs: number): GemvShape {
  const most = outputs < 512 ? 2 : 4;
  return { threads: 8, rows: 4, columns: Math.min(columns, most), unroll: 1 };
}

/** Words in flight: the largest of 4, 3, 2 that leaves no rest, fewer when registers are short. */
export function unrollFor(wordsOfLane: number, sums: number): number {
  const most = sums >= 16 ? 2 : 4;
  if (wordsOfLane <= most) return Math.max(1, wordsOfLane);
  for (let unroll = most; unroll > 1; unroll--) if (wordsOfLane % unroll === 0) return unroll;
  return most;
}

/** Words of a row. */
export function wordsOf(weight: WeightSpec): number {
  return Number(weightAccess("w", weight).constants.w_WORDS);
}

/** A weight with `name_multiply`, which puts products with rows of x into slots. */
export function multiplyAccess(name: string, weight: WeightSpec, shape: GemvShape): Access {
  const access = weightAccess(name, weight);
  const words = Number(access.constants[`${name}_WORDS`]);
  const round = shape.threads * shape.unroll;
  return joinAccess(
    access,
    fragments(instantiate(multiplyText, { NAME: name })),
    constants({ [`${name}_BODY`]: words - words % round }),
  );
}

/** Constants that `name_multiply` wants, for so many weights in one shader. */
export function multiplyConstants(shape: GemvShape, weights: number, norm: boolean) {
  const { threads, rows, columns, unroll } = shape;
  const products = weights * rows * columns;
  return {
    INVOCATIONS: threads,
    ROWS: rows,
    COLUMNS: columns,
    UNROLL: unroll,
    SQUARES: products,
    SUMS: products + (norm ? columns : 0),
    NORM: norm,
  };
}

/** The dispatches of a problem: one, or one for each part of a weight that no binding can hold. */
export function gemvDispatches(
  problem: LinearProblem,
  profile: DeviceProfile,
  shape: GemvShape = gemvShape(problem, profile),
): Dispatch[] {
  return weightParts(problem, profile, shape.rows).map((part) =>
    gemvDispatch(problem, profile, shape, part)
  );
}

function gemvDispatch(
  problem: LinearProblem,
  profile: DeviceProfile,
  shape: GemvShape,
  part: RowRange,
): Dispatch {
  const { weight, x, y, norm, bias, residual, rows, outputs } = problem;
  const [gridX, gridY] = foldGrid(
    Math.ceil((part.end - part.first) / shape.rows),
    profile.maxWorkgroupsPerDimension,
  );
  return composeDispatch({
    kernel: `${problem.name}_gemv`,
    accesses: [
      multiplyAccess("w", weightPart(problem, part), shape),
      rowsAccess("x", weight.columns, { buffer: x }),
      chunkOperand("norm", weight.columns, norm?.weight, 1),
      operandAccess("bias", bias, "numbers"),
      operandAccess("residual", residual, "numbers"),
      extentFunction("columns_of_step", rows),
      constants({
        ...multiplyConstants(shape, 1, norm !== undefined),
        N: outputs,
        N_FIRST: part.first,
        N_END: part.end,
        EPS: epsilon(norm),
      }),
      writes("y", "f32", y),
      reductionAccess(profile, [{ name: "sum", slots: "SUMS", operation: "add" }]),
    ],
    body: gemvBody,
    workgroups: (sizes) => [gridX, gridY, Math.ceil(rows.of(sizes) / shape.columns)],
    weightBytes: weightBytes(problem, part),
  });
}
