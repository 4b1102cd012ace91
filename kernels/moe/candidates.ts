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
} from "./config.ts";
import {
  expertHeuristic,
  gemmHeuristic,
  lanesFor,
  rowsPerExpert,
  slotHeuristic,
} from "./heuristic.ts";
import { type DeviceMoeSpec, matricesOf } from "./spec.ts";

/** Most tokens for which the output-centric kernels are worth a try. */
const FEW_TOKENS = 32;

/**
 * Configurations to measure for steps of `spec.tokens.max` tokens. The two products of a layer do
 * not influence each other, so the search goes in two rounds: without `best`, configurations that
 * differ in the first product (and in what both share); with the best of those, the same one with
 * every second product.
 */
export function moeCandidates(spec: DeviceMoeSpec, best?: MoeConfig): readonly MoeConfig[] {
  const all = best ? withOtherDown(spec, best) : [
    ...(spec.tokens.max <= FEW_TOKENS ? [...slotCandidates(spec), ...expertCandidates(spec)] : []),
    ...gemmCandidates(spec, "grouped"),
    ...gemmCandidates(spec, "permuted"),
  ];
  return all.filter((config) => refuseConfig(config, spec) === undefined);
}

function withOtherDown(spec: DeviceMoeSpec, best: MoeConfig): MoeConfig[] {
  switch (best.algorithm) {
    case "slots":
      return product([4, 8], [1, 2, 4], [1, 2, 4, 8])
        .filter(([, , groups]) => groups <= spec.topK)
        .map(([values, unroll, groups]) => ({ ...best, down: { values, unroll, groups } }));
    case "experts":
      return product([4, 8], [1, 2, 4, 8])
        .map(([values, groups]) => ({ ...best, down: { values, groups } }));
    default:
      return tiles(spec, best.blockM, 1).map((down) => ({ ...best, down }));
  }
}

function slotCandidates(spec: DeviceMoeSpec): SlotConfig[] {
  const base = slotHeuristic(spec);
  const matrices = matricesOf(spec);
  return product(laneChoices(spec), [4, 8, 16], [1, 2, 4], [1, 2, 4])
    .filter(([lanes, values]) => values / matrices <= lanes)
    .map(([lanes, values, unroll, groups]) => ({ ...base, lanes, up: { values, unroll, groups } }));
}

function expertCandidates(spec: DeviceMoeSpec): ExpertConfig[] {
  if (spec.tokens.max === 1) return [];
  const base = expertHeuristic(spec);
  return product(laneChoices(spec), [2, 4, 8], [4, 8, 16])
    .map(([lanes, columns, values]) => ({ ...base, lanes, columns, up: { values } }));
}

function gemmCandidates(spec: DeviceMoeSpec, algorithm: GemmConfig["algorithm"]): GemmConfig[] {
  const rows = rowsPerExpert(spec);
  const heights = [16, 32, 64, 128].filter((blockM) => blockM === 16 || blockM <= 4 * rows);
  const usual = gemmHeuristic(spec, algorithm);
  return heights.flatMap((blockM) =>
    tiles(spec, blockM, matricesOf(spec)).map((up) => ({
      algorithm,
      blockM,
      up,
      down: blockM === usual.blockM ? usual.down : up,
    }))
  );
}

function tiles(spec: DeviceMoeSpec, blockM: number, matrices: number): GemmTile[] {
  const depth = wordElements(spec.format);
  // Few rows of an expert read weights more than they multiply: deeper steps have more in flight.
  const depths = blockM <= 32 ? [16, 32, 64] : [16, 32];
  return product([32, 64, 128], depths, [2, 4, 8], [4, 8], [1, 8])
    .map(([blockN, blockK, threadM, threadN, groupM]) => ({
      ...{ blockN, blockK, threadM, threadN, groupM, lanes: 1, staging: "both" as const },
    }))
    .filter((tile) => {
      const threads = gemmThreads(blockM, tile);
      return tile.blockK % depth === 0 && tile.threadN % matrices === 0 && threads >= 64 &&
        threads <= 256;
    });
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
