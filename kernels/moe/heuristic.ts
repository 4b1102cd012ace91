/**
 * Configurations for layers that nobody has tuned.
 *
 * @module
 */

import {
  type ExpertConfig,
  type GemmConfig,
  type GemmTile,
  refuseConfig,
  type SlotConfig,
  wordElements,
} from "./config.ts";
import { type DeviceMoeSpec, matricesOf } from "./spec.ts";

/** Tiles by height, each with what is tried when the device has too little workgroup memory. */
const TILES: readonly { readonly blockM: number; readonly tiles: readonly GemmTile[] }[] = [
  { blockM: 128, tiles: [tile(128, 16, 8, 8), tile(64, 16, 8, 4)] },
  { blockM: 64, tiles: [tile(128, 16, 8, 8), tile(64, 16, 8, 4), tile(64, 8, 4, 4)] },
  { blockM: 32, tiles: [tile(128, 16, 4, 8), tile(64, 16, 4, 4), tile(64, 8, 4, 4)] },
  { blockM: 16, tiles: [tile(64, 32, 2, 4), tile(64, 16, 2, 4), tile(64, 8, 2, 4)] },
];

function tile(blockN: number, blockK: number, threadM: number, threadN: number): GemmTile {
  return { blockN, blockK, threadM, threadN, groupM: 8, lanes: 1, staging: "both" };
}

/** Mean rows of an expert in the largest step. */
export function rowsPerExpert({ tokens, topK, experts }: DeviceMoeSpec): number {
  return tokens.max * topK / experts;
}

/** Tiles by the rows that an expert gets: taller ones waste rows, lower ones read weights again. */
export function gemmHeuristic(
  spec: DeviceMoeSpec,
  algorithm: GemmConfig["algorithm"],
): GemmConfig {
  const rows = rowsPerExpert(spec);
  const direct = spec.profile.software && directConfig(spec, algorithm);
  if (direct && refuseConfig(direct, spec) === undefined) return direct;
  const start = TILES.findIndex(({ blockM }) => blockM * 3 / 4 <= rows || blockM === 16);
  for (const { blockM, tiles } of TILES.slice(start)) {
    for (const each of tiles) {
      const deep = { ...each, blockK: Math.max(each.blockK, wordElements(spec.format)) };
      const config = { algorithm, blockM, up: deep, down: deep };
      if (refuseConfig(config, spec) === undefined) return config;
    }
  }
  const small = { ...tile(32, wordElements(spec.format), 2, 4), groupM: 1 };
  return { algorithm, blockM: 16, up: small, down: small };
}

/**
 * For CPUs that play GPU: their barriers and workgroup memory cost more than loads do, so products
 * are made straight from memory, with as many sums an invocation as rows allow.
 */
function directConfig(spec: DeviceMoeSpec, algorithm: GemmConfig["algorithm"]): GemmConfig {
  const rows = rowsPerExpert(spec);
  const blockM = rows > 10 ? 16 : rows > 3 ? 8 : 4;
  const columns = 8 * spec.profile.subgroupSize;
  const wide = { ...tile(columns, wordElements(spec.format), blockM, 8), staging: "none" as const };
  return { algorithm, blockM, up: wide, down: wide };
}

/** Lanes of one row: what a subgroup surely holds, or what workgroup memory sums quickly. */
export function lanesFor({ profile }: DeviceMoeSpec): number {
  if (!profile.subgroups || profile.subgroupSize < 8) return 32;
  // Intel compiles kernels for 8, 16 or 32 as it sees fit; the others keep to one size.
  if (/intel/i.test(profile.vendor)) return 8;
  return Math.min(32, 2 ** Math.floor(Math.log2(profile.subgroupSize)));
}

/** Slot by slot. */
export function slotHeuristic(spec: DeviceMoeSpec): SlotConfig {
  const lanes = lanesFor(spec);
  if (spec.profile.software) {
    const light = { values: 4, unroll: 1, groups: 1 };
    return { algorithm: "slots", lanes, up: light, down: light };
  }
  return {
    algorithm: "slots",
    lanes,
    // Rows are the parallelism of one token: few of them a subgroup, many words in flight.
    up: { values: 4, unroll: 4, groups: 2 },
    down: { values: 4, unroll: 2, groups: Math.min(8, spec.topK) },
  };
}

/** Expert by expert. */
export function expertHeuristic(spec: DeviceMoeSpec): ExpertConfig {
  const lanes = lanesFor(spec);
  const columns = rowsPerExpert(spec) > 2 ? 8 : rowsPerExpert(spec) > 1 ? 4 : 2;
  const config = (groups: number): ExpertConfig => ({
    algorithm: "experts",
    lanes,
    columns,
    up: { values: 4 * matricesOf(spec) },
    down: { values: 4, groups },
  });
  for (const groups of [4, 2]) {
    if (refuseConfig(config(groups), spec) === undefined) return config(groups);
  }
  return config(1);
}
