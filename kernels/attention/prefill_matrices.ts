/**
 * Attention of many tokens by matrices of a subgroup (tensor cores), with operands in f16 and sums and
 * softmax in f32.
 *
 * @module
 */

import { constants, fragments } from "../access/access.ts";
import { extentOf } from "../access/extent.ts";
import { composeDispatch } from "../dispatch.ts";
import type { DeviceProfile, Dispatch, LoweringContext, MatrixShape } from "../kernel.ts";
import { type HalvedRows, halveRowsDispatch, leftRows } from "../matrices/halves.ts";
import { inMatrices } from "../matrices/matrices.ts";
import matrixOperands from "./matrix_operands.wgsl" with { type: "text" };
import type { CacheFormat } from "./operands.ts";
import { tileConstants, type TileProblem, tileResults } from "./prefill.ts";
import prefillBody from "./prefill_matrices.wgsl" with { type: "text" };

/** Queries of a workgroup, and keys of a tile. */
const TILE = 64;
/** Queries of a team; four teams make a tile. */
const TEAM_QUERIES = 16;
const TEAMS = TILE / TEAM_QUERIES;
/** Dimensions that heads have a multiple of, and the most of keys and of values that registers hold. */
const SLICE = 64;
const MOST_DIMENSIONS = 192;
const MOST_VALUES = 128;
/** Paging, keys, values, sinks or shares of the softmax, queries with their scales, and results. */
const STORAGE_BUFFERS = 9;

/** Workgroup memory in bytes. */
function storageBytes(headDim: number): number {
  return TILE * (headDim / 8 + 1 + TILE / 4 + 1) * 16;
}

/**
 * The matrices that compute tiles, whose operands are halves: the largest of a device that make up tiles.
 * Undefined where operands stay f32, as the settings say so or the cache holds f32, and where the device
 * has no matrices for heads of these sizes, or not what they take.
 */
export function prefillMatrices(
  { headDim, valueDim }: Pick<TileProblem, "headDim" | "valueDim">,
  { operands = "f32", profile }: Pick<LoweringContext, "operands" | "profile">,
  cacheFormat: CacheFormat,
): MatrixShape | undefined {
  if (operands === "f32" || cacheFormat === "f32") return undefined;
  const fits = headDim % SLICE === 0 && headDim <= MOST_DIMENSIONS && valueDim % SLICE === 0 &&
    valueDim <= Math.min(headDim, MOST_VALUES);
  return fits && hasRoom(profile, headDim) ? shapeFor(profile) : undefined;
}

/** Whether a device has subgroups, buffers and workgroup memory for tiles of matrices. */
function hasRoom(profile: DeviceProfile, headDim: number): boolean {
  const lanes = profile.subgroupSize;
  return profile.subgroups && [16, 32, 64].includes(lanes) &&
    lanes * TEAMS <= profile.maxInvocations && STORAGE_BUFFERS <= profile.maxStorageBuffers &&
    storageBytes(headDim) <= profile.maxWorkgroupStorageBytes;
}

/** The largest matrices of a device that make up the tiles, or undefined where it has none for them. */
function shapeFor(profile: DeviceProfile): MatrixShape | undefined {
  const size = ({ m, n, k }: MatrixShape) => m * n * k;
  return profile.matrices
    ?.filter(({ m, n, k }) =>
      TEAM_QUERIES % m === 0 && TILE % n === 0 && n % 8 === 0 && TILE % k === 0 && k % 8 === 0
    )
    .toSorted((a, b) => size(b) - size(a))[0];
}

/**
 * The dispatches by matrices of {@linkcode prefillMatrices}: queries as halves, of at most `largest` tokens,
 * then tiles of them.
 */
export function matrixPrefill(
  problem: TileProblem,
  shape: MatrixShape,
  largest: number,
): { readonly halve: Dispatch; readonly attend: (part: TileProblem) => Dispatch } {
  const { headDim, heads, ready, profile } = problem;
  const { halved, dispatch } = halveRowsDispatch({
    name: "queries",
    x: ready,
    rows: extentOf(["T", heads]),
    largest: largest * heads,
    columns: headDim,
    chunks: headDim / 8,
  }, profile);
  return { halve: dispatch, attend: (part) => tilesDispatch(part, halved, shape) };
}

function tilesDispatch(
  problem: TileProblem,
  queries: HalvedRows,
  shape: MatrixShape,
): Dispatch {
  const { heads, headDim, valueDim, source, profile } = problem;
  const lanes = profile.subgroupSize;
  const { access, body } = inMatrices(prefillBody, shape, lanes, true);
  const invocations = lanes * TEAMS;
  const parts = lanes / TEAM_QUERIES;
  return composeDispatch({
    kernel: "attention_prefill_matrices",
    accesses: [
      source,
      leftRows(queries),
      constants({
        ...tileConstants(problem),
        QUERIES: TILE,
        KEYS: TILE,
        INVOCATIONS: invocations,
        PARTS: parts,
        PART_WORDS: TILE / parts / 8,
        LOADS: TILE * (headDim / 8) / invocations,
        VALUE_LOADS: TILE * (valueDim / 8) / invocations,
        TEAM_M: TEAM_QUERIES,
        TEAMS,
        ROWS_F: TEAM_QUERIES / shape.m,
        DEPTH_F: headDim / shape.k,
        KEYS_F: TILE / shape.n,
        STEPS_F: TILE / shape.k,
        SLICES: valueDim / SLICE,
        SLICE_F: SLICE / shape.n,
      }),
      access,
      fragments(matrixOperands),
      tileResults(problem),
    ],
    body,
    workgroups: (sizes) => problem.runs(sizes) ? [Math.ceil(sizes.T / TILE), heads, 1] : [0, 0, 0],
  });
}
