/**
 * One small configuration of every MoE algorithm: tiles that need several rounds, blocks that are
 * not full, groups that do not divide the slots.
 *
 * @module
 */

import type { GemmTile, MoeAlgorithm, MoeConfig } from "../../kernels/moe/algorithms/config.ts";

const TILE: GemmTile = {
  ...{ blockN: 32, blockK: 16, threadM: 2, threadN: 4, groupM: 2 },
  ...{ lanes: 1, staging: "both" },
};

/** For subgroups of 8, and widened to larger ones; four rows for a lane, then two rounds of eight. */
const DIRECT: GemmTile = { ...TILE, blockN: 32, threadM: 4, groupM: 1, staging: "none" };

/** Four lanes share a weight row, two steps between barriers; blocks are half full. */
const SKINNY: GemmTile = { ...TILE, blockK: 64, threadM: 8, lanes: 4, staging: "rows" };

/** Configurations by name. */
export const CONFIGS: Readonly<Record<MoeAlgorithm | "direct" | "skinny", MoeConfig>> = {
  slots: {
    algorithm: "slots",
    lanes: 8,
    up: { values: 8, unroll: 2, groups: 2 },
    down: { values: 4, unroll: 2, groups: 2 },
  },
  experts: {
    algorithm: "experts",
    lanes: 8,
    columns: 3,
    up: { values: 8 },
    down: { values: 4, groups: 2 },
  },
  grouped: {
    algorithm: "grouped",
    blockM: 16,
    up: TILE,
    down: { ...TILE, threadM: 4, groupM: 1 },
  },
  direct: { algorithm: "grouped", blockM: 16, up: DIRECT, down: { ...DIRECT, threadM: 16 } },
  skinny: { algorithm: "grouped", blockM: 8, up: SKINNY, down: { ...SKINNY, lanes: 8 } },
  permuted: { algorithm: "permuted", blockM: 8, up: TILE, down: { ...TILE, threadN: 2 } },
};

/**
 * The same algorithms with as few sums an invocation as they take, for packed weights: a software adapter
 * compiles the unpacking of a format for every sum.
 */
export const SMALL_CONFIGS: typeof CONFIGS = {
  ...CONFIGS,
  grouped: withTiles(CONFIGS.grouped, 8, { threadM: 2, threadN: 2, blockK: 8 }),
  permuted: withTiles(CONFIGS.permuted, 8, { threadM: 2, threadN: 2, blockK: 8 }),
  direct: withTiles(CONFIGS.direct, 8, { threadM: 4 }),
  skinny: withDown(withTiles(CONFIGS.skinny, 4, { threadM: 4, threadN: 2 }), { threadN: 1 }),
};

function withTiles(config: MoeConfig, blockM: number, tile: Partial<GemmTile>): MoeConfig {
  if (!("blockM" in config)) return config;
  return { ...config, blockM, up: { ...config.up, ...tile }, down: { ...config.down, ...tile } };
}

function withDown(config: MoeConfig, tile: Partial<GemmTile>): MoeConfig {
  return "blockM" in config ? { ...config, down: { ...config.down, ...tile } } : config;
}
