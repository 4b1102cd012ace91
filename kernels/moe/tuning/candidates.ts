/**
 * The space that a tuner searches for a layer: configurations that the device can run and that are
 * not plainly wrong for the number of tokens.
 *
 * @module
 */

import {
  type ExpertConfig,
  type GemmConfig,
  gemmThreads,
  type GemmTile,
  type MoeConfig,
  refuseConfig,
  type SlotConfig,
  wordElements,
} from "../algorithms/config.ts";
import {
  expertHeuristic,
  gemmHeuristic,
  lanesFor,
  lowestMatrices,
  rowsPerExpert,
  slotHeuristic,
} from "./heuristic.ts";
import { sizeDistance } from "../../size_distance.ts";
import { type DeviceMoeSpec, matricesOf } from "../spec.ts";

/** Most tokens for which the output-centric kernels are worth a try. */
const FEW_TOKENS = 32;

/**
 * Configurations to measure for steps of `spec.tokens.max` tokens, those most like the heuristic
 * first. The two products of a layer do not influence each other, so the search goes in rounds:
 * without `best`, configurations that differ in the first product (and in what both share); with the
 * best of those, the same one with every second product, and for sorted pairs with permuted rows.
 */
export function moeCandidates(spec: DeviceMoeSpec, best?: MoeConfig): readonly MoeConfig[] {
  const all = best ? withOtherDown(spec, best) : [
    ...(spec.tokens.max <= FEW_TOKENS ? [...slotCandidates(spec), ...expertCandidates(spec)] : []),
    ...gemmCandidates(spec),
  ];
  const usual = best
    ? [best]
    : [slotHeuristic(spec), expertHeuristic(spec), gemmHeuristic(spec, "grouped")]
      .concat(lowestMatrices(spec) ?? []);
  const distance = (config: MoeConfig) =>
    Math.min(...usual.map((each) => sizeDistance(each, config)));
  return all.filter((config) => refuseConfig(config, spec) === undefined)
    .toSorted((a, b) => distance(a) - distance(b));
}

function withOtherDown(spec: DeviceMoeSpec, best: MoeConfig): MoeConfig[] {
  switch (best.algorithm) {
    case "slots":
      return product([2, 4, 8], [1, 2, 3, 4], [1, 2, 4, 6, 8])
        .filter(([, , groups]) => groups <= spec.topK)
        .map(([values, unroll, groups]) => ({ ...best, down: { values, unroll, groups } }));
    case "experts":
      return product([4, 8], [1, 2, 4, 8])
        .map(([values, groups]) => ({ ...best, down: { values, groups } }));
    default:
      return tiles(spec, best.blockM, 1).flatMap((down) => [
        { ...best, down },
        { ...best, algorithm: "permuted", down },
      ]);
  }
}

function slotCandidates(spec: DeviceMoeSpec): SlotConfig[] {
  const base = slotHeuristic(spec);
  const matrices = matricesOf(spec);
  return product(laneChoices(spec), [2, 4, 8, 16], [1, 2, 3, 4], [1, 2, 4])
    .filter(([lanes, values]) => values / matrices <= lanes)
    .map(([lanes, values, unroll, groups]) => ({ ...base, lanes, up: { values, unroll, groups } }));
}

function expertCandidates(spec: DeviceMoeSpec): ExpertConfig[] {
  if (spec.tokens.max === 1) return [];
  const base = expertHeuristic(spec);
  return product(laneChoices(spec), [2, 4, 8], [4, 8, 16])
    .map(([lanes, columns, values]) => ({ ...base, lanes, columns, up: { values } }));
}

function gemmCandidates(spec: DeviceMoeSpec): GemmConfig[] {
  const rows = rowsPerExpert(spec);
  const isHigh = (blockM: number) => blockM > Math.max(4, 4 * rows);
  // Tensor cores take 16 rows in the time of one.
  const heights = [4, 8, 16, 32, 64, 128].filter((blockM) => !isHigh(blockM) || blockM === 16);
  const usual = gemmHeuristic(spec, "grouped");
  return heights.flatMap((blockM) =>
    tiles(spec, blockM, matricesOf(spec))
      .filter(({ staging }) => staging === "matrices" || !isHigh(blockM))
      .map((up) => ({
        algorithm: "grouped" as const,
        blockM,
        up,
        down: blockM === usual.blockM ? usual.down : up,
      }))
  );
}

/** Low blocks leave weights in memory until they are needed, high ones stage both operands. */
function tiles(spec: DeviceMoeSpec, blockM: number, matrices: number): GemmTile[] {
  return [
    ...(blockM <= 16 ? skinnyTiles(spec, blockM) : []),
    ...(blockM >= 16 ? stagedTiles(blockM) : []),
    ...(blockM >= 16 ? matrixTiles(spec, blockM) : []),
  ].filter((tile) => tile.blockK % wordElements(spec.format) === 0 && tile.threadN % matrices === 0)
    .filter((tile) => {
      const threads = gemmThreads(blockM, tile);
      return threads >= 64 && threads <= 256;
    });
}

function skinnyTiles(spec: DeviceMoeSpec, blockM: number): GemmTile[] {
  const widest = Math.max(8, lanesFor(spec));
  return product([2, 4, 8], [4, 8, 16], [64, 128, 256], [1, 2, 4], [1, 8])
    .filter(([threadN, lanes, , steps]) =>
      blockM * threadN <= 64 && threadN * steps <= 16 && lanes <= widest
    )
    .map(([threadN, lanes, threads, steps, groupM]) => ({
      ...{ blockN: (threads / lanes) * threadN, blockK: lanes * steps * wordElements(spec.format) },
      ...{ threadM: blockM, threadN, groupM, lanes, staging: "rows" as const },
    }));
}

function stagedTiles(blockM: number): GemmTile[] {
  return product([32, 64, 128], [16, 32], [2, 4, 8], [4, 8], [1, 8])
    .filter(([, , threadM]) => threadM <= blockM)
    .map(([blockN, blockK, threadM, threadN, groupM]) => ({
      ...{ blockN, blockK, threadM, threadN, groupM, lanes: 1, staging: "both" as const },
    }));
}

/** Tiles for tensor cores, on devices that have them and for layers that may use them. */
function matrixTiles({ profile, operands }: DeviceMoeSpec, blockM: number): GemmTile[] {
  if (operands === "f32" || (profile.matrices ?? []).length === 0) return [];
  return product([64, 128], [32, 64], [16, 32, 64], [32, 64], [8])
    .filter(([blockN, , threadM, threadN]) => threadM <= blockM && threadN <= blockN)
    .map(([blockN, blockK, threadM, threadN, groupM]) => ({
      ...{ blockN, blockK, threadM, threadN, groupM },
      ...{ lanes: profile.subgroupSize, staging: "matrices" as const },
    }));
}

/** Lanes of a row: a subgroup's where there are any, otherwise what workgroup memory sums well. */
function laneChoices(spec: DeviceMoeSpec): number[] {
  const usual = lanesFor(spec);
  return usual === 32 && !spec.profile.subgroups ? [32, 64] : [...new Set([usual, usual / 2])]
    .filter((lanes) => lanes >= 8);
}

/** Every combination of one value of each list. */
function product<const Lists extends readonly (readonly number[])[]>(
  ...lists: Lists
): { [I in keyof Lists]: number }[] {
  let rows: number[][] = [[]];
  for (const list of lists) rows = rows.flatMap((row) => list.map((value) => [...row, value]));
  return rows as { [I in keyof Lists]: number }[];
}
