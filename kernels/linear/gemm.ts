/**
 * Linear layers of many rows: a tiled matrix product with f32 accumulation.
 *
 * @module
 */

import { type Access, constants, fragments } from "../access/access.ts";
import { extentFunction } from "../access/extent.ts";
import { rowsAccess } from "../access/rows.ts";
import { weightAccess, wordChunks } from "../access/weights.ts";
import { composeDispatch } from "../dispatch.ts";
import type { DeviceProfile, Dispatch } from "../kernel.ts";
import gemmBody from "./gemm.wgsl" with { type: "text" };
import { matrixDispatches, matrixTile, type Product } from "./matrix_gemm.ts";
import {
  type LinearProblem,
  type RowRange,
  storeAccess,
  weightBytes,
  weightPart,
  weightParts,
} from "./problem.ts";

/** Sizes that a tuner may choose. */
export interface GemmShape {
  /** Results of a workgroup: rows of x, rows of w. */
  readonly tileM: number;
  readonly tileN: number;
  /** Depth of a step; at least a word of the weight's format is taken. */
  readonly tileK: number;
  /** Blocks of 4 x 4 results that an invocation owns along each side. */
  readonly quadsM: number;
  readonly quadsN: number;
}

/** Shapes by size, the smallest first; the choice is {@linkcode gemmShape}'s. */
export const GEMM_SHAPES: readonly GemmShape[] = [
  { tileM: 16, tileN: 64, tileK: 32, quadsM: 1, quadsN: 1 },
  { tileM: 32, tileN: 64, tileK: 32, quadsM: 1, quadsN: 1 },
  { tileM: 64, tileN: 64, tileK: 32, quadsM: 1, quadsN: 1 },
  { tileM: 64, tileN: 128, tileK: 16, quadsM: 2, quadsN: 2 },
  { tileM: 128, tileN: 128, tileK: 16, quadsM: 2, quadsN: 2 },
];

/**
 * Shapes for a CPU that plays GPU, for few rows and for many. What a step multiplies is written out, so
 * that a fourth of the depth takes a third of the time to compile; llvmpipe runs them as fast.
 */
export const SOFTWARE_SHAPES = {
  few: { tileM: 16, tileN: 16, tileK: 8, quadsM: 1, quadsN: 1 },
  many: { tileM: 32, tileN: 32, tileK: 16, quadsM: 1, quadsN: 1 },
} as const satisfies Record<string, GemmShape>;
const MANY_ROWS = 128;

/** Workgroups that keep a large GPU busy: two for each of an H100's 132 processors. */
const ENOUGH_WORKGROUPS = 264;

/** The largest tile that the rows fill and that still gives every processor work. */
export function gemmShape(problem: Product, profile: DeviceProfile): GemmShape {
  const { largestRows, outputs } = problem;
  if (profile.software) return SOFTWARE_SHAPES[largestRows < MANY_ROWS ? "few" : "many"];
  const chunks = wordChunks(problem.weight.format);
  const fitting = GEMM_SHAPES.filter((shape) => fits(shape, chunks, profile));
  const groups = ({ tileM, tileN }: GemmShape) =>
    Math.ceil(largestRows / tileM) * Math.ceil(outputs / tileN);
  const filled = fitting.filter(({ tileM }) => tileM === 16 || tileM < 2 * largestRows);
  return filled.findLast((shape) => groups(shape) >= ENOUGH_WORKGROUPS) ??
    filled.findLast(({ tileM }) => tileM <= 64 && tileM <= Math.max(16, largestRows)) ?? filled[0];
}

function fits(shape: GemmShape, chunks: number, profile: DeviceProfile): boolean {
  return sharedBytes(shape, chunks) <= profile.maxWorkgroupStorageBytes &&
    threadsOf(shape) <= profile.maxInvocations;
}

function sharedBytes(shape: GemmShape, chunks: number): number {
  return (shape.tileM + shape.tileN) * depthOf(shape, chunks) * 4;
}

/** Depth of a step in a format whose words hold so many chunks. */
function depthOf(shape: GemmShape, chunks: number): number {
  return Math.max(shape.tileK, 8 * chunks);
}

function threadsOf({ tileM, tileN, quadsM, quadsN }: GemmShape): number {
  return (tileM / (4 * quadsM)) * (tileN / (4 * quadsN));
}

/** One line on the product that {@linkcode gemmDispatches} chooses. */
export function describeGemm(problem: Product, profile: DeviceProfile): string {
  const matrices = matrixTile(problem, profile);
  if (matrices) {
    const { blockM, blockN, blockK } = matrices;
    return `gemm by matrices, f16 operands, tiles of ${blockM} x ${blockN} x ${blockK}`;
  }
  const { tileM, tileN, tileK } = gemmShape(problem, profile);
  return `gemm, tiles of ${tileM} x ${tileN} x ${tileK}`;
}

/** What happens to a sum before it is stored; `finish_quad(sum, at) -> vec4<f32>`. */
const KEEP_SUM: Access = fragments(
  "fn finish_quad(sum: vec4<f32>, at: u32) -> vec4<f32> {\n  return sum;\n}",
);

/** What a product may have beside its problem. */
export interface GemmOptions {
  readonly shape?: GemmShape;
  readonly finish?: Access;
  /** `store_quad(row, column, sum)`, in place of `y` with bias and residual. */
  readonly store?: Access;
}

/**
 * The dispatches of a problem without norm: by matrices where it may and the device has them, otherwise
 * one, or one for each part of a weight that no binding can hold.
 */
export function gemmDispatches(
  problem: Product,
  profile: DeviceProfile,
  options: GemmOptions = {},
): Dispatch[] {
  const { finish = KEEP_SUM, store = storeAccess(problem, finish) } = options;
  const matrices = options.shape ? undefined : matrixTile(problem, profile);
  if (matrices) return matrixDispatches(problem, matrices, store, profile);
  const shape = options.shape ?? gemmShape(problem, profile);
  return weightParts(problem, profile, shape.tileN).map((part) =>
    gemmDispatch(problem, shape, store, part)
  );
}

function gemmDispatch(
  problem: LinearProblem,
  shape: GemmShape,
  store: Access,
  part: RowRange,
): Dispatch {
  const { weight, x, rows, outputs } = problem;
  const w = weightAccess("w", weightPart(problem, part));
  const groupsN = Math.ceil((part.end - part.first) / shape.tileN);
  return composeDispatch({
    kernel: `${problem.name}_gemm`,
    accesses: [
      w,
      rowsAccess("x", weight.columns, { buffer: x }),
      extentFunction("rows_of_step", rows),
      constants({
        ...shapeConstants(shape, weight.columns, Number(w.constants.w_CHUNKS)),
        N: outputs,
        N_FIRST: part.first,
        N_END: part.end,
      }),
      store,
    ],
    body: gemmBody,
    workgroups: (sizes) => [groupsN, Math.ceil(rows.of(sizes) / shape.tileM), 1],
    weightBytes: weightBytes(problem, part),
  });
}

/** Constants of a tile for rows of K elements. */
function shapeConstants(shape: GemmShape, columns: number, chunks: number) {
  const { tileM, tileN, quadsM, quadsN } = shape;
  const tileK = depthOf(shape, chunks);
  const threads = threadsOf(shape);
  const words = (tileN * tileK) / (8 * chunks);
  return {
    INVOCATIONS: threads,
    INVOCATIONS_M: tileM / (4 * quadsM),
    INVOCATIONS_N: tileN / (4 * quadsN),
    QUADS_M: quadsM,
    QUADS_N: quadsN,
    TILE_M: tileM,
    TILE_N: tileN,
    TILE_K: tileK,
    LOADS_X: (tileM * tileK) / 8 / threads,
    LOADS_W: Math.ceil(words / threads),
    WORDS_REST: words % threads !== 0,
    STEPS: Math.ceil(columns / tileK),
    K_TAIL: columns % tileK !== 0,
  };
}
