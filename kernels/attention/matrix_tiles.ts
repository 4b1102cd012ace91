/**
 * Tiles of attention by matrices of a subgroup: which a device can make for heads of some sizes.
 *
 * @module
 */

import type { CacheDtype } from "../../graph/mod.ts";
import type { DeviceProfile, LoweringContext, MatrixShape } from "../kernel.ts";

/** A tile of a workgroup, whose teams are subgroups. */
export interface AttentionTile {
  readonly queries: number;
  readonly keys: number;
  /** Teams that have the same queries, and shares of keys and dimensions. */
  readonly columns: number;
  readonly shape: MatrixShape;
}

/** Query heads, and elements of a query and key head, and of a value head. */
export interface HeadSizes {
  readonly heads: number;
  readonly headDim: number;
  readonly valueDim: number;
}

/** Queries of a team. */
export const TEAM_QUERIES = 16;
/** Sizes of heads are a multiple of this. */
const UNIT = 64;
/** Registers of an invocation that hold queries and results; loads and scores take some 100 besides. */
const MOST_REGISTERS = 128;
/** Paging, keys, values, sinks or shares of the softmax, queries with their scales, and results. */
const STORAGE_BUFFERS = 9;

type TileSizes = Omit<AttentionTile, "shape">;

/** First where workgroups are too few to share a processor: twice the invocations, and fewer barriers. */
const LONELY: TileSizes = { queries: 64, keys: 64, columns: 2 };
/** Workgroups that have a processor of an H100 each. */
const FEW_WORKGROUPS = 132;

/**
 * By preference, as measured on an H100 (docs/lab_notes.md): tiles of 32 keys leave room for more workgroups on
 * a processor, tiles of many queries have fewer loads, and teams with the same queries each keep a copy of them.
 */
const TILES: readonly TileSizes[] = [
  { queries: 64, keys: 32, columns: 1 },
  LONELY,
  { queries: 64, keys: 32, columns: 2 },
  { queries: 64, keys: 32, columns: 4 },
  { queries: 32, keys: 32, columns: 1 },
  { queries: 32, keys: 32, columns: 2 },
];

/**
 * The tile of a layer, whose operands are halves. Undefined where they stay f32, as the settings say so or the
 * cache holds f32, and where the device has no matrices for heads of these sizes, or not what they take.
 */
export function prefillTile(
  sizes: HeadSizes,
  { operands = "f32", profile, tokens }: Pick<LoweringContext, "operands" | "profile" | "tokens">,
  cacheFormat: CacheDtype,
): AttentionTile | undefined {
  if (operands === "f32" || cacheFormat === "f32") return undefined;
  const workgroups = sizes.heads * Math.ceil(tokens.max / LONELY.queries);
  const tiles = workgroups <= FEW_WORKGROUPS ? [LONELY, ...TILES] : TILES;
  return tileFor(sizes, profile, tiles);
}

function tileFor(
  sizes: HeadSizes,
  profile: DeviceProfile,
  tiles: readonly TileSizes[],
): AttentionTile | undefined {
  const { headDim, valueDim } = sizes;
  if (headDim % UNIT !== 0 || valueDim % UNIT !== 0 || valueDim > headDim) return undefined;
  if (!profile.subgroups || STORAGE_BUFFERS > profile.maxStorageBuffers) return undefined;
  const volume = ({ m, n, k }: MatrixShape) => m * n * k;
  const shapes = profile.matrices?.toSorted((a, b) => volume(b) - volume(a)) ?? [];
  return tiles.flatMap((tile) => shapes.map((shape) => ({ ...tile, shape })))
    .find((tile) => dividesEvenly(tile, profile.subgroupSize) && holds(tile, sizes, profile));
}

/** Whether matrices make up the tile, and its invocations share out all of its work alike. */
function dividesEvenly({ queries, keys, columns, shape }: AttentionTile, lanes: number): boolean {
  const { m, n, k } = shape;
  const parts = partsOf({ columns }, lanes);
  const invocations = parts * queries;
  return [16, 32, 64].includes(lanes) && TEAM_QUERIES % m === 0 && n % 8 === 0 && k % 8 === 0 &&
    (keys / columns) % n === 0 && keys % k === 0 && keys % (8 * parts) === 0 &&
    (keys * UNIT / 8) % invocations === 0;
}

/** Whether registers, workgroup memory and the largest workgroup are enough. */
function holds(tile: AttentionTile, sizes: HeadSizes, profile: DeviceProfile): boolean {
  const { queries, columns } = tile;
  const lanes = profile.subgroupSize;
  const results = TEAM_QUERIES * sizes.valueDim / columns / lanes;
  const kept = TEAM_QUERIES * sizes.headDim / 2 / lanes;
  return results + kept <= MOST_REGISTERS &&
    partsOf(tile, lanes) * queries <= profile.maxInvocations &&
    storageBytes(tile, sizes) <= profile.maxWorkgroupStorageBytes;
}

/** Invocations that share the softmax of a query. */
export function partsOf({ columns }: Pick<AttentionTile, "columns">, lanes: number): number {
  return lanes * columns / TEAM_QUERIES;
}

/** Workgroup memory in bytes: keys, scores, and the number of a tile. */
function storageBytes({ queries, keys }: AttentionTile, { headDim }: HeadSizes): number {
  return (keys * (headDim / 8 + 1) + queries * (keys / 4 + 1)) * 16 + 4;
}
