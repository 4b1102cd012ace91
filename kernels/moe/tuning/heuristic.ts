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
} from "../algorithms/config.ts";
import { weightRowBytes } from "../../access/weights.ts";
import { prefersInterleaved } from "../algorithms/weights.ts";
import { isPacked } from "../../../graph/mod.ts";
import { type DeviceMoeSpec, matricesOf } from "../spec.ts";

/** Lanes that share a weight row in the skinny kernel: few enough for every subgroup. */
const SKINNY_LANES = 8;

/** Tiles for experts with at least so many rows; the last resort of a device comes last. */
interface Tiles {
  readonly rows: number;
  readonly blockM: number;
  readonly tile: GemmTile;
}

/**
 * What an H100 does best, the most rows first (docs/lab_notes.md). With few rows reading weights
 * bounds the product, and the skinny kernel reads each once for its 4 or 8 rows; with many,
 * arithmetic does, which wants large tiles of both operands in workgroup memory.
 */
const TILES: readonly Tiles[] = [
  { rows: 192, blockM: 128, tile: staged(128, 16, 8, 8) },
  { rows: 192, blockM: 64, tile: staged(64, 16, 8, 4) },
  { rows: 10, blockM: 8, tile: skinny(128, 8, 8, 1) },
  { rows: 0, blockM: 4, tile: skinny(64, 4, 4, 2) },
  { rows: 0, blockM: 16, tile: staged(64, 8, 2, 4) },
];

function staged(blockN: number, blockK: number, threadM: number, threadN: number): GemmTile {
  return { blockN, blockK, threadM, threadN, groupM: 8, lanes: 1, staging: "both" };
}

/** A tile with `steps` words of each weight row in flight; words of 8 elements. */
function skinny(blockN: number, blockM: number, threadN: number, steps: number): GemmTile {
  return {
    ...{ blockN, blockK: 8 * SKINNY_LANES * steps, threadM: blockM, threadN, groupM: 8 },
    ...{ lanes: SKINNY_LANES, staging: "rows" },
  };
}

/** Mean rows of an expert in the largest step. */
export function rowsPerExpert({ tokens, topK, experts }: DeviceMoeSpec): number {
  return tokens.max * topK / experts;
}

/** Tiles by the rows that an expert gets. */
export function gemmHeuristic(
  spec: DeviceMoeSpec,
  algorithm: GemmConfig["algorithm"],
): GemmConfig {
  const rows = rowsPerExpert(spec);
  const software = spec.profile.software && softwareConfig(spec, algorithm);
  if (software && refuseConfig(software, spec) === undefined) return software;
  for (const each of [...matrixTiles(spec), ...TILES]) {
    if (rows < each.rows) continue;
    const { blockM } = each;
    const tile = deepEnough(each.tile, spec);
    const config: GemmConfig = { algorithm, blockM, up: tile, down: tile };
    if (refuseConfig(config, spec) === undefined) return config;
  }
  const small = { ...staged(32, wordElements(spec.format), 2, 4), groupM: 1 };
  return { algorithm, blockM: 16, up: small, down: small };
}

/** Whether a layer's rows are enough for tensor cores, on a device that has them for it. */
export function prefersMatrices(spec: DeviceMoeSpec): boolean {
  return gemmHeuristic(spec, "grouped").up.staging === "matrices";
}

/** The lowest tile for tensor cores that a device can make of a layer, however few its rows. */
export function lowestMatrices(spec: DeviceMoeSpec): GemmConfig | undefined {
  return matrixTiles(spec).map(({ blockM, tile }): GemmConfig => {
    const deep = deepEnough(tile, spec);
    return { algorithm: "grouped", blockM, up: deep, down: deep };
  }).findLast((config) => refuseConfig(config, spec) === undefined);
}

/** A tile for tensor cores, but for the lanes, which are those of the device's subgroups. */
function matrices(blockN: number, blockK: number, threadM: number, threadN: number): GemmTile {
  return { blockN, blockK, threadM, threadN, groupM: 8, lanes: 0, staging: "matrices" };
}

/**
 * Tiles for tensor cores, the most rows first; the first of each number of rows is what an H100 does best
 * (docs/lab_notes.md), the next for devices of less workgroup memory. Packed weights are unpacked once for
 * each block of rows, without tensor cores for a few rows, so they take higher blocks and take them sooner.
 */
const MATRIX_TILES: { readonly [Kind in "plain" | "packed"]: readonly Tiles[] } = {
  plain: [
    { rows: 64, blockM: 128, tile: matrices(128, 64, 64, 32) },
    { rows: 48, blockM: 64, tile: matrices(128, 64, 32, 32) },
    { rows: 16, blockM: 32, tile: matrices(128, 64, 32, 32) },
    { rows: 16, blockM: 32, tile: matrices(64, 32, 16, 32) },
    { rows: 6, blockM: 16, tile: matrices(64, 64, 16, 16) },
    { rows: 6, blockM: 16, tile: matrices(64, 32, 16, 32) },
  ],
  packed: [
    { rows: 72, blockM: 128, tile: matrices(128, 64, 64, 32) },
    { rows: 24, blockM: 64, tile: matrices(128, 32, 64, 32) },
    { rows: 16, blockM: 32, tile: matrices(128, 64, 32, 32) },
    { rows: 16, blockM: 32, tile: matrices(64, 32, 16, 32) },
    { rows: 4, blockM: 16, tile: matrices(64, 64, 16, 16) },
    { rows: 4, blockM: 16, tile: matrices(64, 32, 16, 32) },
  ],
};

/** Tiles for tensor cores; none where the device has no matrices, or the layer keeps f32. */
function matrixTiles({ profile, operands, format }: DeviceMoeSpec): Tiles[] {
  if (operands === "f32" || (profile.matrices ?? []).length === 0) return [];
  return MATRIX_TILES[isPacked(format) ? "packed" : "plain"]
    .map((each) => ({ ...each, tile: { ...each.tile, lanes: profile.subgroupSize } }));
}

/** The tile, made as deep as the words of the format are long. */
function deepEnough(tile: GemmTile, { format }: DeviceMoeSpec): GemmTile {
  const word = (tile.staging === "rows" ? tile.lanes : 1) * wordElements(format);
  return { ...tile, blockK: Math.max(word, tile.blockK - tile.blockK % word) };
}

/** Rows of an expert from which a software adapter runs long enough to repay a shader of 128 sums. */
const MANY_ROWS = 64;

/**
 * For CPUs that play GPU: their barriers and workgroup memory cost more than loads do, so products
 * are made straight from memory. Few sums an invocation take as long to run as many unless rows are
 * many, and a third of the time to compile. That keeps operands in f32; for f16 there is a tile small
 * enough to be compiled quickly.
 */
function softwareConfig(spec: DeviceMoeSpec, algorithm: GemmConfig["algorithm"]): GemmConfig {
  const rows = rowsPerExpert(spec);
  if (spec.operands === "f16") {
    const tile = deepEnough(staged(32, 16, 4, 4), spec);
    return { algorithm, blockM: 16, up: tile, down: tile };
  }
  const blockM = rows > MANY_ROWS ? 16 : rows > 3 ? 8 : 4;
  const threadN = rows > MANY_ROWS ? 8 : 4;
  const wide: GemmTile = {
    ...staged(threadN * spec.profile.subgroupSize, wordElements(spec.format), blockM, threadN),
    staging: "none",
  };
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
  const isOne = spec.tokens.max === 1;
  const interleaved = isInterleaved(spec);
  return {
    algorithm: "slots",
    lanes,
    // Rows are the parallelism of one token: few of them a subgroup, many words in flight.
    up: { values: interleaved ? 2 : 4, unroll: 4, groups: isOne || !interleaved ? 2 : 1 },
    down: { values: 4, unroll: 4, groups: Math.min(isOne || !interleaved ? 8 : 4, spec.topK) },
  };
}

/** Words of the first product are as wide as four of one chunk, so half the rows are as many in flight. */
function isInterleaved({ format, hidden, mlp, profile }: DeviceMoeSpec): boolean {
  return mlp === "gated" && prefersInterleaved(format, hidden, profile);
}

/** vLLM's measure: below a quarter of the experts in use, two tokens rarely meet in one. */
const SHARED_PAIRS = 1 / 4;

/** An expert of more bytes keeps the memory busy, so that reading it twice costs twice the time. */
const LARGE_EXPERT_BYTES = 64 * 2 ** 20;

/**
 * Whether slot by slot is the fastest for the largest step. Only those kernels read interleaved words of
 * packed experts in one pass, so on an H100 they win up to one pair an expert (docs/lab_notes.md).
 */
export function prefersSlots(spec: DeviceMoeSpec): boolean {
  const { tokens, topK, experts, hidden, intermediate, format } = spec;
  if (tokens.max === 1) return true;
  const bytes = (matricesOf(spec) + 1) * intermediate * weightRowBytes(format, hidden);
  const most = isInterleaved(spec) && bytes <= LARGE_EXPERT_BYTES ? 1 : SHARED_PAIRS;
  return tokens.max * topK <= most * experts;
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
