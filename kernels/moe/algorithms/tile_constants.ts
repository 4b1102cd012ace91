/**
 * A grouped GEMM's tile as constants of its shader.
 *
 * @module
 */

import type { ShaderConstants } from "../../compose.ts";
import type { DeviceMoeSpec } from "../spec.ts";
import { gemmStorage, gemmThreads, type GemmTile, type Staging } from "./config.ts";

/** What the shaders of every way of staging want to know of a tile. */
export function tileConstants(
  blockM: number,
  tile: GemmTile,
  matrices: number,
): ShaderConstants {
  const { blockN, threadM, threadN, groupM } = tile;
  return {
    BLOCK_N: blockN,
    THREAD_M: threadM,
    THREAD_N: threadN,
    GROUP_M: groupM,
    INVOCATIONS: gemmThreads(blockM, tile),
    MATRICES: matrices,
    LAST_MATRIX: matrices - 1,
    THREAD_OUTPUTS: threadN / matrices,
  };
}

/** A tile without matrices, which have constants of their own (`matrices/matrices.ts`). */
export type StagedTile = GemmTile & { readonly staging: Exclude<Staging, "matrices"> };

/** What one way of staging has besides; words of a weight hold `wordChunks` chunks of eight. */
export function stagingConstants(
  blockM: number,
  tile: StagedTile,
  wordChunks: number,
  spec: DeviceMoeSpec,
): ShaderConstants {
  const chunks = tile.blockK / 8;
  const threads = gemmThreads(blockM, tile);
  const rowRounds = Math.ceil(blockM * chunks / threads);
  switch (tile.staging) {
    case "both":
      return {
        BLOCK_K: tile.blockK,
        K_VECTORS: tile.blockK / 4,
        ...heightConstants(tile),
        TILES: 2 * gemmStorage(blockM, tile, spec) <= spec.profile.maxWorkgroupStorageBytes ? 2 : 1,
        A_ROUNDS: rowRounds,
        B_ROUNDS: Math.ceil(tile.blockN * (chunks / wordChunks) / threads),
      };
    case "rows":
      return {
        LANES: tile.lanes,
        STEPS: chunks / wordChunks / tile.lanes,
        ...quadConstants(blockM / 4),
        A_ROUNDS: rowRounds,
      };
    case "none": {
      // The rows of an invocation are shared out among the lanes of a subgroup.
      const lanes = Math.min(tile.threadM, spec.profile.subgroupSize);
      return { LANES_USED: lanes, A_ROUNDS: tile.threadM / lanes };
    }
  }
}

/** Fours of rows, and how many there are in each variant of the inner loop: QUADS_0 is 1. */
function quadConstants(quads: number): ShaderConstants {
  const variants = Array.from({ length: quads }, (_, i) => [`QUADS_${i}`, i + 1]);
  return { ROW_QUADS: quads, ...Object.fromEntries(variants) };
}

/**
 * Rows of an invocation that are computed: all, or half of them in blocks that have no more. (An
 * H100 lost a fifth of its speed to four variants instead of two.)
 */
function heightConstants({ threadM }: GemmTile): ShaderConstants {
  return threadM % 2 === 0
    ? { HEIGHTS: 2, HEIGHT_0: threadM, HEIGHT_1: threadM / 2 }
    : { HEIGHTS: 1, HEIGHT_0: threadM };
}
