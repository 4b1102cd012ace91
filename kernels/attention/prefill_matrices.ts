/**
 * Attention of many tokens by matrices of a subgroup (tensor cores), with operands in f16 and sums and
 * softmax in f32.
 *
 * @module
 */

import { constants, fragments, writes } from "../access/access.ts";
import { extentOf } from "../access/extent.ts";
import { composeDispatch } from "../dispatch.ts";
import type { Dispatch, MatrixShape, Scratch } from "../kernel.ts";
import { type HalvedRows, halveRowsDispatch, leftRows } from "../matrices/halves.ts";
import { inMatrices } from "../matrices/matrices.ts";
import matrixOperands from "./matrix_operands.wgsl" with { type: "text" };
import {
  type AttentionProblem,
  cacheAccess,
  pagingAccess,
  sinkAccess,
  sizeConstants,
} from "./operands.ts";
import prefillBody from "./prefill_matrices.wgsl" with { type: "text" };

/** Queries of a workgroup, and keys of a tile. */
const TILE = 64;
/** Queries of a team; four teams make a tile. */
const TEAM_QUERIES = 16;
const TEAMS = TILE / TEAM_QUERIES;
/** Dimensions that results have a multiple of, and the most that registers hold. */
const SLICE = 64;
const MOST_DIMENSIONS = 128;
/** Paging, keys, values, sinks, queries with their scales, and results. */
const STORAGE_BUFFERS = 9;

/** Workgroup memory in bytes. */
function storageBytes(headDim: number): number {
  return TILE * (headDim / 8 + 1 + TILE / 4 + 1) * 16;
}

/** The largest matrices of a device that make up the tiles, or undefined where it has none for them. */
function shapeFor({ context: { profile } }: AttentionProblem): MatrixShape | undefined {
  const size = ({ m, n, k }: MatrixShape) => m * n * k;
  return profile.matrices
    ?.filter(({ m, n, k }) =>
      TEAM_QUERIES % m === 0 && TILE % n === 0 && n % 8 === 0 && TILE % k === 0 && k % 8 === 0
    )
    .toSorted((a, b) => size(b) - size(a))[0];
}

/**
 * The dispatches: queries as halves, then tiles of them. Undefined where operands stay f32, the device
 * has no matrices for it, or the cache holds more than f16 can.
 */
export function matrixPrefill(
  problem: AttentionProblem,
  ready: Scratch,
): readonly Dispatch[] | undefined {
  const { attrs, cacheFormat, context: { operands = "f32", profile, tokens } } = problem;
  const { headDim, heads } = attrs;
  const shape = shapeFor(problem);
  const lanes = profile.subgroupSize;
  const fits = operands !== "f32" && cacheFormat !== "f32" && profile.subgroups &&
    headDim % SLICE === 0 && headDim <= MOST_DIMENSIONS && [16, 32, 64].includes(lanes) &&
    lanes * TEAMS <= profile.maxInvocations && STORAGE_BUFFERS <= profile.maxStorageBuffers &&
    storageBytes(headDim) <= profile.maxWorkgroupStorageBytes;
  if (!shape || !fits) return undefined;
  const { halved, dispatch } = halveRowsDispatch({
    name: "queries",
    x: ready,
    rows: extentOf(["T", heads]),
    largest: tokens.max * heads,
    columns: headDim,
    chunks: headDim / 8,
  }, profile);
  return [dispatch, tilesDispatch(problem, halved, shape, lanes)];
}

function tilesDispatch(
  problem: AttentionProblem,
  queries: HalvedRows,
  shape: MatrixShape,
  lanes: number,
): Dispatch {
  const { node, attrs: { headDim, heads } } = problem;
  const { access, body } = inMatrices(prefillBody, shape, lanes, true);
  const invocations = lanes * TEAMS;
  const parts = lanes / TEAM_QUERIES;
  return composeDispatch({
    kernel: "attention_prefill_matrices",
    accesses: [
      pagingAccess(problem),
      cacheAccess(problem, "read"),
      sinkAccess(problem),
      leftRows(queries),
      constants({
        ...sizeConstants(problem),
        QUERIES: TILE,
        KEYS: TILE,
        INVOCATIONS: invocations,
        PARTS: parts,
        PART_WORDS: TILE / parts / 8,
        CHUNKS: headDim / 8,
        LOADS: TILE * (headDim / 8) / invocations,
        TEAM_M: TEAM_QUERIES,
        TEAMS,
        ROWS_F: TEAM_QUERIES / shape.m,
        DEPTH_F: headDim / shape.k,
        KEYS_F: TILE / shape.n,
        STEPS_F: TILE / shape.k,
        SLICES: headDim / SLICE,
        SLICE_F: SLICE / shape.n,
      }),
      access,
      fragments(matrixOperands),
      writes("y", "vec4<f32>", node.outputs[0]),
    ],
    body,
    workgroups: ({ T }) => [Math.ceil(T / TILE), heads, 1],
  });
}
