/**
 * Attention of many tokens by matrices of a subgroup (tensor cores), with operands in f16 and sums and
 * softmax in f32.
 *
 * @module
 */

import { constants, fragments } from "../access/access.ts";
import { extentOf } from "../access/extent.ts";
import type { ShaderConstants } from "../compose.ts";
import { composeDispatch } from "../dispatch.ts";
import type { Dispatch } from "../kernel.ts";
import { type HalvedRows, halveRowsDispatch, leftRows } from "../matrices/halves.ts";
import { inMatrices } from "../matrices/matrices.ts";
import matrixOperands from "./matrix_operands.wgsl" with { type: "text" };
import { type AttentionTile, partsOf, TEAM_QUERIES } from "./matrix_tiles.ts";
import { tileConstants, type TileProblem, tileResults } from "./prefill.ts";
import prefillBody from "./prefill_matrices.wgsl" with { type: "text" };
import tileRun from "./tile_run.wgsl" with { type: "text" };

/**
 * The dispatches of {@linkcode AttentionTile}s: queries as halves, of at most `largest` tokens, then tiles of
 * them.
 */
export function matrixPrefill(
  { headDim, heads, ready, profile }: TileProblem,
  tile: AttentionTile,
  largest: number,
): { readonly halve: Dispatch; readonly attend: (part: TileProblem) => Dispatch } {
  const { halved, dispatch } = halveRowsDispatch({
    name: "queries",
    x: ready,
    rows: extentOf(["T", heads]),
    largest: largest * heads,
    columns: headDim,
    chunks: headDim / 8,
  }, profile);
  return { halve: dispatch, attend: (part) => tilesDispatch(part, halved, tile) };
}

function tilesDispatch(
  problem: TileProblem,
  queries: HalvedRows,
  tile: AttentionTile,
): Dispatch {
  const { heads, source, profile } = problem;
  const { access, body } = inMatrices(prefillBody, tile.shape, profile.subgroupSize, true);
  return composeDispatch({
    kernel: "attention_prefill_matrices",
    accesses: [
      source,
      leftRows(queries),
      constants({ ...tileConstants(problem), ...matrixConstants(problem, tile) }),
      access,
      fragments(tileRun, matrixOperands),
      tileResults(problem),
    ],
    body,
    workgroups: (sizes) =>
      problem.runs(sizes) ? [Math.ceil(sizes.T / tile.queries), heads, 1] : [0, 0, 0],
  });
}

function matrixConstants(
  { headDim, valueDim, profile }: TileProblem,
  { queries, keys, columns, shape }: AttentionTile,
): ShaderConstants {
  const parts = partsOf({ columns }, profile.subgroupSize);
  const invocations = parts * queries;
  const pieces = Math.max(1, queries / keys);
  return {
    QUERIES: queries,
    KEYS: keys,
    COLUMNS: columns,
    INVOCATIONS: invocations,
    PARTS: parts,
    PART_WORDS: keys / parts / 8,
    LOADS: keys * (headDim / 8) / invocations,
    VALUE_LOADS: keys * (valueDim / 8) / invocations,
    TEAM_M: TEAM_QUERIES,
    TEAMS: queries / TEAM_QUERIES * columns,
    ROWS_F: TEAM_QUERIES / shape.m,
    PIECES: pieces,
    PIECE_F: headDim / pieces / shape.k,
    QUERY_LOADS: queries * (headDim / pieces / 8) / invocations,
    STEPS_F: keys / shape.k,
    SLICES: valueDim / keys,
    SLICE_F: keys / columns / shape.n,
  };
}
