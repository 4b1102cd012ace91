/**
 * MoE configurations that multiply matrices of subgroups, and devices that have them.
 *
 * @module
 */

import type { DeviceProfile, MatrixShape } from "../../kernels/kernel.ts";
import type { GemmConfig, GemmTile } from "../../kernels/moe/algorithms/config.ts";

/** Sizes of matrices that GPUs list: NVIDIA's two, and Apple's. */
export const MATRIX_SHAPES: readonly MatrixShape[] = [
  { m: 16, n: 16, k: 16 },
  { m: 16, n: 8, k: 16 },
  { m: 8, n: 8, k: 8 },
];

/** A tile of 32 × 64 in four teams, of 16 × 32 sums each. */
const TILE: GemmTile = {
  ...{ blockN: 64, blockK: 32, threadM: 16, threadN: 32, groupM: 2 },
  ...{ lanes: 32, staging: "matrices" },
};

/** Small configurations by name; the down projection has another shape of team. */
export const MATRIX_CONFIGS: Readonly<Record<GemmConfig["algorithm"], GemmConfig>> = {
  grouped: { algorithm: "grouped", blockM: 32, up: TILE, down: { ...TILE, threadM: 32 } },
  permuted: { algorithm: "permuted", blockM: 32, up: TILE, down: { ...TILE, blockN: 32 } },
};

/** A small tile of two teams by two, for one size of matrices. */
export function configFor({ m, n, k }: MatrixShape): GemmConfig {
  const tile = { ...TILE, blockN: 4 * n, blockK: Math.max(16, k), threadM: m, threadN: 2 * n };
  return { algorithm: "grouped", blockM: 2 * m, up: tile, down: tile };
}

/** A device with one size of matrices; `plain` ones are computed without, unless the device has them. */
export function withMatrices(
  profile: DeviceProfile,
  shape: MatrixShape,
  plain = false,
): DeviceProfile {
  const { m, n, k } = shape;
  const own = profile.matrices?.find((each) => each.m === m && each.n === n && each.k === k);
  if (plain && own) return { ...profile, matrices: [own] };
  // Where subgroups are smaller than any GPU's, sums of 32 invocations go through workgroup memory.
  const subgroups = profile.subgroups && profile.subgroupSize >= 8;
  return {
    ...profile,
    ...{ subgroups, subgroupSize: 32, matrices: [plain ? { ...shape, plain } : shape] },
  };
}
