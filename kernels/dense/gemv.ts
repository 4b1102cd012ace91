/**
 * Linear layers of few rows: the weight is read once and the reading is all that takes time.
 *
 * @module
 */

import { composeShader } from "../compose.ts";
import { type DeviceProfile, type Dispatch, foldGrid } from "../kernel.ts";
import { rowsAccess, weightAccess } from "../weight_access.ts";
import absentNorm from "../wgsl/lib/absent_norm.wgsl" with { type: "text" };
import gemvBody from "../wgsl/gemv.wgsl" with { type: "text" };
import { laneFragments, narrowWorkgroup } from "./lanes.ts";
import {
  addend,
  epsilon,
  extentFunction,
  joinAccess,
  type LinearProblem,
  type RowRange,
  weightBytes,
  weightPart,
  weightParts,
} from "./linear_problem.ts";

/** Sizes that a tuner may choose. */
export interface GemvShape {
  /** Threads of a workgroup; a power of two. */
  readonly threads: number;
  /** Rows of the weight a workgroup owns. */
  readonly rows: number;
  /** Rows of x that share one reading of the weight. */
  readonly columns: number;
  /** Words of each row that a thread has in flight. */
  readonly unroll: number;
}

/** Rows of x that one workgroup takes at most: their sums are registers. */
export const GEMV_MAX_COLUMNS = 8;

/**
 * Sizes for a problem. Rows are the parallelism: an H100 reads fastest with one or two rows a
 * subgroup and four words in flight, unless rows are plenty (docs/performance.md).
 */
export function gemvShape(problem: LinearProblem, profile: DeviceProfile): GemvShape {
  const { outputs, largestRows } = problem;
  const columns = Math.min(largestRows, GEMV_MAX_COLUMNS);
  const words = wordsOf(problem);
  const rows = outputs >= 32768 ? 4 : outputs >= 4096 || columns > 2 ? 2 : 1;
  const narrow = narrowWorkgroup(profile);
  const threads = outputs < 1024 && words >= 8 * narrow ? Math.min(128, 4 * narrow) : narrow;
  return { threads, rows, columns, unroll: unrollFor(Math.floor(words / threads), rows * columns) };
}

/** Words in flight: the largest of 4, 3, 2 that leaves no rest, fewer when registers are short. */
function unrollFor(wordsOfLane: number, sums: number): number {
  const most = sums >= 16 ? 2 : 4;
  if (wordsOfLane <= most) return Math.max(1, wordsOfLane);
  for (let unroll = most; unroll > 1; unroll--) if (wordsOfLane % unroll === 0) return unroll;
  return most;
}

function wordsOf({ weight }: LinearProblem): number {
  return Number(weightAccess("w", weight).constants.w_WORDS);
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
  const { threads, columns, unroll } = shape;
  const words = wordsOf(problem);
  const sums = columns * shape.rows + (norm ? columns : 0);
  const normAccess = norm
    ? rowsAccess("norm", weight.columns, { buffer: norm.weight })
    : { buffers: [], fragments: [absentNorm], constants: {} };
  const access = joinAccess([
    weightAccess("w", weightPart(problem, part)),
    rowsAccess("x", weight.columns, { buffer: x }),
    normAccess,
    addend("bias", bias, false),
    addend("residual", residual, false),
    extentFunction("columns_of_step", rows),
  ]);
  const shader = composeShader({
    constants: {
      ...access.constants,
      THREADS: threads,
      ROWS: shape.rows,
      COLUMNS: columns,
      UNROLL: unroll,
      BODY_WORDS: words - words % (threads * unroll),
      N: outputs,
      N_FIRST: part.first,
      N_END: part.end,
      SUMS: sums,
      NORM: norm !== undefined,
      EPS: epsilon(norm),
    },
    buffers: [
      ...access.buffers,
      { name: "y", type: "array<f32>", access: "read_write", buffer: y },
    ],
    fragments: [
      ...access.fragments,
      ...laneFragments(profile, [{ name: "sum", slots: "SUMS", operation: "add" }]),
    ],
    body: gemvBody,
  });
  const [gridX, gridY] = foldGrid(
    Math.ceil((part.end - part.first) / shape.rows),
    profile.maxWorkgroupsPerDimension,
  );
  return {
    kernel: `${problem.name}_gemv`,
    ...shader,
    workgroups: (sizes) => [gridX, gridY, Math.ceil(rows.of(sizes) / columns)],
    weightBytes: weightBytes(problem, part),
  };
}
