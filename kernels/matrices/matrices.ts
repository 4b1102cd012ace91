/**
 * Products by matrices of a subgroup (tensor cores): which sizes a device multiplies, what a tile of
 * them takes, and what its shader is put together from. Grouped and dense products share all of it;
 * they differ in the blocks that workgroups make, and in what becomes of the sums.
 *
 * @module
 */

import { type Access, constants, fragments, joinAccess } from "../access/access.ts";
import { instantiate, type ShaderConstants } from "../compose.ts";
import type { DeviceProfile, MatrixShape } from "../kernel.ts";
import block from "./block.wgsl" with { type: "text" };
import halvesOf from "./halves_of.wgsl" with { type: "text" };
import operands from "./operands.wgsl" with { type: "text" };
import plain from "./plain.wgsl" with { type: "text" };
import plainKept from "./plain_kept.wgsl" with { type: "text" };
import plainWords from "./plain_words.wgsl" with { type: "text" };
import product from "./product.wgsl" with { type: "text" };
import subgroup from "./subgroup.wgsl" with { type: "text" };

/** A tile of a workgroup; a team is a subgroup. */
export interface MatrixTile {
  readonly blockM: number;
  readonly blockN: number;
  /** Depth of one staged tile: a multiple of 8. */
  readonly blockK: number;
  /** Sums of a team: rows × weight rows. */
  readonly threadM: number;
  readonly threadN: number;
  /** Invocations of a team. */
  readonly lanes: number;
}

/** Words that shaders with matrices are written in: Tint's own, and those of plain WGSL. */
export const MATRIX_WORDS = {
  subgroup: {
    LOAD_LEFT: "subgroupMatrixLoad<Left, row_major>",
    LOAD_RIGHT: "subgroupMatrixLoad<Right, col_major>",
    MULTIPLY: "subgroupMatrixMultiplyAccumulate",
    STORE: "subgroupMatrixStore<row_major>",
    OPERANDS: "&operands,",
    MATRIX_WORDS: "Left Right",
    LOAD_KEPT: "subgroupMatrixLoad<Left, row_major>",
    LOAD_ROWS: "subgroupMatrixLoad<Right, row_major>",
    LOAD_SUMS: "subgroupMatrixLoad<Result, row_major>",
    KEPT_WORDS: "Left Right",
  },
  plain: {
    LOAD_LEFT: "left_at",
    LOAD_RIGHT: "right_at",
    MULTIPLY: "multiply",
    STORE: "store_sums",
    OPERANDS: "",
    MATRIX_WORDS: "left_at right_at multiply store_sums",
    LOAD_KEPT: "kept_at",
    LOAD_ROWS: "rows_at",
    LOAD_SUMS: "sums_at",
    KEPT_WORDS: "left_at right_at multiply store_sums kept_at rows_at sums_at",
  },
} as const;

/** The largest matrices of a device that make up a team's sums, as many of each kind of output. */
export function matrixShapeOf(
  tile: MatrixTile,
  matrices: number,
  profile: DeviceProfile | undefined,
): MatrixShape | undefined {
  const size = ({ m, n, k }: MatrixShape) => m * n * k;
  return profile?.matrices
    ?.filter(({ m, n, k }) =>
      tile.threadM % m === 0 && tile.threadN % (n * matrices) === 0 && tile.blockK % k === 0 &&
      n % 4 === 0 && k % 8 === 0
    )
    .toSorted((a, b) => size(b) - size(a))[0];
}

/** Why a device cannot make a tile with matrices, or undefined when it can. */
export function refuseMatrices(
  tile: MatrixTile,
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

/** Workgroup memory in bytes: both operands as halves, or one row of matrices of every team as sums. */
export function matrixStorage(tile: MatrixTile, profile: DeviceProfile | undefined): number {
  const { blockM, blockN, blockK, threadN } = tile;
  const m = matrixShapeOf(tile, 1, profile)?.m ?? 16;
  return 16 * Math.max(
    (blockM + blockN) * (blockK / 8 + 1),
    teamsOf(tile) * m * (threadN / 4 + 1),
  );
}

/** Teams of a workgroup. */
export function teamsOf({ blockM, blockN, threadM, threadN }: MatrixTile): number {
  return (blockM / threadM) * (blockN / threadN);
}

/** Chunks of 8 halves in a row of the left operand: whole tiles of K. */
export function rowChunks(columns: number, { blockK }: MatrixTile): number {
  return Math.ceil(columns / blockK) * blockK / 8;
}

/**
 * The body of a product and what it needs of the tile. The kernel gives the weight as `w`, the rows by
 * `leftRows`, `OUTPUTS`, `y`, and a fragment with `block_of`, `left_row` and `put`.
 */
export function matrixProduct(
  tile: MatrixTile,
  matrices: number,
  weight: ShaderConstants,
  profile: DeviceProfile,
): { readonly access: Access; readonly body: string } {
  const shape = matrixShapeOf(tile, matrices, profile) ?? { m: 16, n: 16, k: 16 };
  const { access, body } = inMatrices(product, shape, tile.lanes);
  return {
    access: joinAccess(
      constants({
        ...tileConstants(tile, shape, matrices),
        ...roundConstants(tile, Number(weight.w_CHUNKS), Number(weight.w_WORDS)),
      }),
      fragments(block, operands),
      access,
    ),
    body,
  };
}

/**
 * A body that multiplies matrices of a shape, written in their words, and the fragments it needs; with
 * `keeps` left operands outlive their place.
 */
export function inMatrices(
  body: string,
  shape: MatrixShape,
  lanes: number,
  keeps = false,
): { readonly access: Access; readonly body: string } {
  return {
    access: joinAccess(
      constants({
        MATRIX_M: shape.m,
        MATRIX_N: shape.n,
        MATRIX_K: shape.k,
        ...(shape.plain && { LANES: lanes }),
      }),
      fragments(...(shape.plain ? [plain, keeps ? plainKept : plainWords] : [subgroup]), halvesOf),
    ),
    body: instantiate(body, MATRIX_WORDS[shape.plain ? "plain" : "subgroup"]),
  };
}

function tileConstants(tile: MatrixTile, shape: MatrixShape, matrices: number): ShaderConstants {
  const { blockM, blockN, blockK, threadM, threadN, lanes } = tile;
  return {
    BLOCK_M: blockM,
    BLOCK_N: blockN,
    BLOCK_K: blockK,
    INVOCATIONS: teamsOf(tile) * lanes,
    MATRICES: matrices,
    LAST_MATRIX: matrices - 1,
    TEAM_M: threadM,
    TEAM_N: threadN,
    TEAMS_N: blockN / threadN,
    TEAMS: teamsOf(tile),
    ROWS_F: threadM / shape.m,
    COLUMNS_F: threadN / shape.n,
    STEPS_K: blockK / shape.k,
  };
}

/** How invocations share out what is staged; `WHOLE` where nothing is left over. */
function roundConstants(tile: MatrixTile, wordChunks: number, words: number): ShaderConstants {
  const { blockM, blockN, blockK, lanes } = tile;
  const threads = teamsOf(tile) * lanes;
  const tileWords = blockK / 8 / wordChunks;
  const [aParts, bParts] = [blockM * blockK / 8, blockN * tileWords];
  return {
    A_ROUNDS: Math.ceil(aParts / threads),
    B_ROUNDS: Math.ceil(bParts / threads),
    A_WHOLE: aParts % threads === 0,
    B_WHOLE: bParts % threads === 0,
    K_WHOLE: words % tileWords === 0,
    K_TILES: Math.ceil(words / tileWords),
  };
}
