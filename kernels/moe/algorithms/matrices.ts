/**
 * Grouped GEMMs by matrices of a subgroup (tensor cores): which sizes a device multiplies, what a
 * tile of them takes, and its constants.
 *
 * @module
 */

import type { ShaderConstants } from "../../compose.ts";
import type { DeviceProfile, MatrixShape } from "../../kernel.ts";
import type { DeviceMoeSpec } from "../spec.ts";
import matricesPlain from "./matrices_plain.wgsl" with { type: "text" };
import matricesSubgroup from "./matrices_subgroup.wgsl" with { type: "text" };
import matricesTiles from "./matrices_tiles.wgsl" with { type: "text" };

/** The numbers of a tile that its matrices depend on; a team is a subgroup. */
interface TeamTile {
  readonly blockN: number;
  readonly blockK: number;
  /** Sums of a team: rows × weight rows. */
  readonly threadM: number;
  readonly threadN: number;
  /** Invocations of a team. */
  readonly lanes: number;
}

/** The largest matrices of a device that make up a team's sums, an even number beside each other for gated experts. */
export function matrixShapeOf(
  tile: TeamTile,
  matrices: number,
  profile: DeviceProfile | undefined,
): MatrixShape | undefined {
  const size = ({ m, n, k }: MatrixShape) => m * n * k;
  return profile?.matrices
    ?.filter(({ m, n, k }) =>
      tile.threadM % m === 0 && tile.threadN % (n * matrices) === 0 && tile.blockK % k === 0
    )
    .toSorted((a, b) => size(b) - size(a))[0];
}

/** Why a device cannot make a tile with matrices, or undefined when it can. */
export function refuseMatrices(
  tile: TeamTile,
  matrices: number,
  profile: DeviceProfile | undefined,
): string | undefined {
  const { subgroupSize = 1 } = profile ?? {};
  const shape = matrixShapeOf(tile, matrices, profile);
  if (shape === undefined) {
    const listed = profile?.matrices?.map(({ m, n, k }) => `${m}x${n}x${k}`) ?? [];
    return listed.length === 0
      ? "needs matrices of subgroups, which the device does not have"
      : `no matrices of ${listed.join(", ")} make it up`;
  }
  if (shape.plain || tile.lanes === subgroupSize) return undefined;
  return `${tile.lanes} lanes: a subgroup has ${subgroupSize}`;
}

/** Workgroup memory in bytes: both tiles as halves, and one row of matrices of every team as sums. */
export function matrixStorage(
  blockM: number,
  tile: TeamTile,
  profile: DeviceProfile | undefined,
): number {
  const teams = (blockM / tile.threadM) * (tile.blockN / tile.threadN);
  const m = matrixShapeOf(tile, 1, profile)?.m ?? 16;
  return (blockM + tile.blockN) * (tile.blockK + 8) * 2 + teams * m * (tile.threadN + 4) * 4;
}

/** Constants of a tile, and the fragments that its matrices are. */
export function matrixParts(
  blockM: number,
  tile: TeamTile,
  matrices: number,
  { profile }: DeviceMoeSpec,
): { readonly constants: ShaderConstants; readonly fragments: readonly string[] } {
  const shape = matrixShapeOf(tile, matrices, profile) ?? { m: 16, n: 16, k: 16 };
  const teamsN = tile.blockN / tile.threadN;
  return {
    constants: {
      TEAM_M: tile.threadM,
      TEAM_N: tile.threadN,
      TEAMS_N: teamsN,
      TEAMS: (blockM / tile.threadM) * teamsN,
      MATRIX_M: shape.m,
      MATRIX_N: shape.n,
      MATRIX_K: shape.k,
      ROWS_F: tile.threadM / shape.m,
      COLUMNS_F: tile.threadN / shape.n,
      STEPS_K: tile.blockK / shape.k,
      ...(shape.plain && { LANES: tile.lanes }),
    },
    fragments: [matricesTiles, shape.plain ? matricesPlain : matricesSubgroup],
  };
}
