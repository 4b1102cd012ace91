/**
 * Linear layers of many rows by matrices of a subgroup (tensor cores), with operands in f16 and sums
 * in f32.
 *
 * @module
 */

import { type Access, constants, fragments } from "../access/access.ts";
import { extentFunction } from "../access/extent.ts";
import { weightAccess, wordChunks } from "../access/weights.ts";
import { composeDispatch } from "../dispatch.ts";
import type { DeviceProfile, Dispatch } from "../kernel.ts";
import { type HalvedRows, halveRowsDispatch, leftRows } from "../matrices/halves.ts";
import {
  matrixProduct,
  matrixStorage,
  type MatrixTile,
  refuseMatrices,
  rowChunks,
  teamsOf,
} from "../matrices/matrices.ts";
import matrixBlocks from "./matrix_blocks.wgsl" with { type: "text" };
import {
  type LinearProblem,
  type RowRange,
  weightBytes,
  weightPart,
  weightParts,
} from "./problem.ts";

/** A problem without norm, which comes in front, into scratch. */
export type Product = Omit<LinearProblem, "norm">;

/** A tile but for its lanes, which are those of the device's subgroups. */
type Tile = Omit<MatrixTile, "lanes">;

/** By size, the smallest first. The largest made 239 TFLOP/s on an H100, the next 186. */
const TILES: readonly Tile[] = [
  { blockM: 32, blockN: 64, blockK: 32, threadM: 16, threadN: 32 },
  { blockM: 64, blockN: 64, blockK: 32, threadM: 32, threadN: 32 },
  { blockM: 64, blockN: 128, blockK: 32, threadM: 64, threadN: 32 },
  { blockM: 128, blockN: 128, blockK: 64, threadM: 64, threadN: 32 },
];

/** Workgroups that give each of an H100's 132 processors one. */
const ENOUGH_WORKGROUPS = 132;

/**
 * The tile of a problem on a device: the largest that the rows fill and that still gives every
 * processor work. Undefined where operands stay f32 or the device has no matrices.
 */
export function matrixTile(
  { operands = "f32", weight, outputs, largestRows }: Product,
  profile: DeviceProfile,
): MatrixTile | undefined {
  if (operands === "f32") return undefined;
  const word = 8 * wordChunks(weight.format);
  const fitting = TILES.map((tile) => ({
    ...tile,
    blockK: Math.max(word, tile.blockK - tile.blockK % word),
    lanes: profile.subgroupSize,
  })).filter((tile) => fits(tile, profile) && (tile.blockM <= 32 || tile.blockM < 2 * largestRows));
  const groups = ({ blockM, blockN }: MatrixTile) =>
    Math.ceil(largestRows / blockM) * Math.ceil(outputs / blockN);
  return fitting.findLast((tile) => groups(tile) >= ENOUGH_WORKGROUPS) ?? fitting[0];
}

function fits(tile: MatrixTile, profile: DeviceProfile): boolean {
  return refuseMatrices(tile, 1, profile) === undefined &&
    matrixStorage(tile, profile) <= profile.maxWorkgroupStorageBytes &&
    teamsOf(tile) * tile.lanes <= profile.maxInvocations;
}

/** The rows as halves, then a dispatch for each part of the weight. */
export function matrixDispatches(
  problem: Product,
  tile: MatrixTile,
  store: Access,
  profile: DeviceProfile,
): Dispatch[] {
  const { name, x, rows, largestRows, weight: { columns } } = problem;
  const { halved, dispatch } = halveRowsDispatch({
    ...{ name, x, rows, largest: largestRows, columns },
    chunks: rowChunks(columns, tile),
  }, profile);
  const parts = weightParts(problem, profile, tile.blockN);
  return [
    dispatch,
    ...parts.map((part) => partDispatch(problem, tile, store, part, halved, profile)),
  ];
}

function partDispatch(
  problem: Product,
  tile: MatrixTile,
  store: Access,
  part: RowRange,
  halved: HalvedRows,
  profile: DeviceProfile,
): Dispatch {
  const { rows, outputs } = problem;
  const w = weightAccess("w", weightPart(problem, part));
  const { access, body } = matrixProduct(tile, 1, w.constants, profile);
  const groupsN = Math.ceil((part.end - part.first) / tile.blockN);
  return composeDispatch({
    kernel: `${problem.name}_matrices`,
    accesses: [
      w,
      leftRows(halved),
      extentFunction("rows_of_step", rows),
      access,
      constants({ OUTPUTS: outputs, N: outputs, N_FIRST: part.first, N_END: part.end }),
      store,
      fragments(matrixBlocks),
    ],
    body,
    workgroups: (sizes) => [groupsN, Math.ceil(rows.of(sizes) / tile.blockM), 1],
    weightBytes: weightBytes(problem, part),
  });
}
