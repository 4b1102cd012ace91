/**
 * The numbers that a tuner may choose for an MoE layer, whether a device can run them, and the
 * heuristic for layers that nobody has tuned.
 *
 * @module
 */

import type { WeightFormat } from "../../../graph/mod.ts";
import { weightRowBytes } from "../../access/weights.ts";
import type { DeviceProfile } from "../../kernel.ts";
import { matricesOf, type MoeSpec } from "../spec.ts";
import { matrixStorage, refuseMatrices } from "../../matrices/matrices.ts";

/** Tile of one grouped GEMM; its height is common to both. */
export interface GemmTile {
  /** Weight rows of a workgroup; a gated expert makes half as many outputs of them. */
  readonly blockN: number;
  /** Depth of one staged tile. */
  readonly blockK: number;
  /** Sums of an invocation: rows × weight rows. */
  readonly threadM: number;
  readonly threadN: number;
  /** Row blocks that are taken together while the columns go by. */
  readonly groupM: number;
  /** Invocations that share the depth of a weight row; more than one with `rows` only. */
  readonly lanes: number;
  readonly staging: Staging;
}

/**
 * What goes through workgroup memory: both operands (many rows an expert), the rows of x alone
 * (few: each weight has one reader), or none (where subgroups have one size and barriers are dear);
 * with `matrices` both as halves, which subgroups multiply as matrices: the sums of an invocation are
 * then those of its subgroup, and the lanes its size.
 */
export const STAGINGS = ["both", "rows", "none", "matrices"] as const;
export type Staging = (typeof STAGINGS)[number];

/** Sorted pairs and grouped GEMMs; `permuted` copies the rows to their sorted places first. */
export interface GemmConfig {
  readonly algorithm: "grouped" | "permuted";
  /** Rows of a block, all of one expert. */
  readonly blockM: number;
  readonly up: GemmTile;
  readonly down: GemmTile;
}

/** One (token, slot) after the other: best while no two tokens share an expert. */
export interface SlotConfig {
  readonly algorithm: "slots";
  /** Invocations that share a weight row. */
  readonly lanes: number;
  /** Weight rows of one group of lanes: 2, or a multiple of 4. */
  readonly up: { readonly values: number; readonly unroll: number; readonly groups: number };
  /** `groups` of lanes share the slots of a token among them. */
  readonly down: { readonly values: number; readonly unroll: number; readonly groups: number };
}

/** One expert after the other: each weight is read once for up to `columns` pairs. */
export interface ExpertConfig {
  readonly algorithm: "experts";
  readonly lanes: number;
  /** Pairs that share a weight while it is in registers. */
  readonly columns: number;
  readonly up: { readonly values: number };
  readonly down: { readonly values: number; readonly groups: number };
}

/** Everything there is to choose for one layer and one range of tokens. */
export type MoeConfig = GemmConfig | SlotConfig | ExpertConfig;

/** Names of the algorithms. */
export type MoeAlgorithm = MoeConfig["algorithm"];

/** Invocations of a workgroup of a grouped GEMM. */
export function gemmThreads(blockM: number, { blockN, threadM, threadN, lanes }: GemmTile): number {
  return (blockM / threadM) * (blockN / threadN) * lanes;
}

/**
 * Workgroup memory of a grouped GEMM in bytes: both tiles, a vector of padding on every row; or two
 * tiles of rows, and what sums over lanes take where there are no subgroups.
 */
export function gemmStorage(
  blockM: number,
  tile: GemmTile,
  { operands, profile }: MoeSpec,
): number {
  const { blockN, blockK } = tile;
  switch (tile.staging) {
    case "both":
      return (blockM + blockN) * (blockK / 4 + 1) * (operands === "f16" ? 8 : 16);
    case "rows":
      return 2 * blockM * blockK * 4 + gemmThreads(blockM, tile) * 16;
    case "none":
      return 0;
    case "matrices":
      return matrixStorage({ blockM, ...tile }, profile);
  }
}

/** Why a device cannot run a configuration, or undefined when it can. */
export function refuseConfig(config: MoeConfig, spec: MoeSpec): string | undefined {
  switch (config.algorithm) {
    case "slots":
      return refuseLanes(config.lanes, Math.max(config.up.groups, config.down.groups), spec) ??
        refuseValues(config, spec) ?? refuseTokens(spec);
    case "experts":
      return refuseLanes(config.lanes, config.down.groups, spec) ??
        refuseValues(config, spec) ??
        refuseStorage(expertStorage(config, spec), spec.profile);
    default:
      return refuseTile(config.blockM, config.up, spec, "up") ??
        refuseTile(config.blockM, config.down, spec, "down");
  }
}

/** Workgroup memory of the expert-major down projection in bytes. */
export function expertStorage({ lanes, down }: ExpertConfig, spec: MoeSpec): number {
  const sums = spec.tokens.max * (down.values / 4) * lanes * down.groups * 16;
  // Without subgroups, lane sums go through memory as well.
  const pairs = 2 * 4 * (spec.tokens.max * spec.topK + 4);
  return sums + lanes * down.groups * 16 + pairs + 16;
}

/** Elements of the 16 bytes that an invocation loads at a time, at least one chunk of 8. */
export function wordElements(format: WeightFormat): number {
  return Math.max(8, Math.floor(128 / weightRowBytes(format, 8)));
}

function refuseTile(
  blockM: number,
  tile: GemmTile,
  spec: MoeSpec,
  which: "up" | "down",
): string | undefined {
  const { blockN, blockK, threadM, threadN } = tile;
  const matrices = which === "up" ? matricesOf(spec) : 1;
  const depth = wordElements(spec.format);
  const text = `${which} tile ${blockM}x${blockN}x${blockK} of ${threadM}x${threadN} sums`;
  if (blockM % threadM !== 0 || blockN % threadN !== 0) {
    return `${text}: the sums of an invocation do not divide it`;
  }
  if (threadN % matrices !== 0) return `${text}: ${matrices} matrices do not divide ${threadN}`;
  if (blockK % depth !== 0) return `${text}: its depth is no multiple of ${depth}`;
  if (tile.staging !== "matrices" && threadM * threadN > 128) {
    return `${text}: more than 128 sums an invocation`;
  }
  const reason = refuseStaging(blockM, tile, spec, which);
  if (reason !== undefined) return `${text}: ${reason}`;
  const threads = gemmThreads(blockM, tile);
  const most = spec.profile?.maxInvocations ?? 256;
  if (threads > most) return `${text}: ${threads} invocations, the device allows ${most}`;
  return refuseStorage(gemmStorage(blockM, tile, spec), spec.profile);
}

/** What each way of staging asks for. */
function refuseStaging(
  blockM: number,
  tile: GemmTile,
  spec: MoeSpec,
  which: "up" | "down",
): string | undefined {
  const { blockN, blockK, threadM, threadN, lanes, staging } = tile;
  if (staging === "rows") {
    if (threadM !== blockM) return "with rows staged, an invocation has sums for all of them";
    if (blockM % 4 !== 0) return "with rows staged, they are taken four at a time";
    if (!isPowerOfTwo(lanes) || lanes < 4) return `${lanes} lanes: expected a power of two from 4`;
    const word = lanes * wordElements(spec.format);
    return blockK % word === 0 ? undefined : `its depth is no multiple of the lanes' ${word}`;
  }
  if (staging === "matrices") {
    if (spec.operands === "f32") return "matrices have f16 operands, the layer keeps f32";
    if (spec.activationQuant === "static") return "matrices do not round rows with static scales";
    const matrices = which === "up" ? matricesOf(spec) : 1;
    return refuseMatrices({ blockM, ...tile }, matrices, spec.profile);
  }
  if (lanes !== 1) return `${lanes} lanes: only with rows staged`;
  if (staging === "both") return undefined;
  const { subgroups = false, subgroupSize = 1 } = spec.profile ?? {};
  if (!subgroups) return "needs subgroups to share rows without workgroup memory";
  if ((blockN / threadN) % subgroupSize !== 0) {
    return `a subgroup of ${subgroupSize} does not divide its columns`;
  }
  if (threadM > subgroupSize && threadM % subgroupSize !== 0) {
    return `a subgroup of ${subgroupSize} does not divide ${threadM} rows`;
  }
  return undefined;
}

/** Slot by slot, every token is a layer of the grid. */
function refuseTokens({ tokens, profile }: MoeSpec): string | undefined {
  const most = profile?.maxWorkgroupsPerDimension ?? 65535;
  return tokens.max > most ? `${tokens.max} tokens, the device's grid allows ${most}` : undefined;
}

function refuseStorage(bytes: number, profile: DeviceProfile | undefined): string | undefined {
  const most = profile?.maxWorkgroupStorageBytes ?? 16384;
  if (bytes <= most) return undefined;
  return `${bytes} bytes of workgroup memory, the device allows ${most}`;
}

function refuseLanes(lanes: number, groups: number, spec: MoeSpec): string | undefined {
  const { profile } = spec;
  if (!isPowerOfTwo(lanes) || lanes < 8) {
    return `${lanes} lanes: expected a power of two from 8`;
  }
  const most = profile?.maxInvocations ?? 256;
  if (lanes * groups > most) {
    return `${lanes * groups} invocations, the device allows ${most}`;
  }
  return undefined;
}

function refuseValues(config: SlotConfig | ExpertConfig, spec: MoeSpec): string | undefined {
  const { up, down, lanes } = config;
  const least = config.algorithm === "slots" ? 2 : 4;
  const wrong = [up.values, down.values].find((each) =>
    (each % 4 !== 0 && each !== least) || each < least || each > 32
  );
  if (wrong !== undefined) {
    return `${wrong} rows a group: expected ${least === 2 ? "2, " : ""}4, 8, .. 32`;
  }
  // Each output is finished by a lane of its own.
  const outputs = up.values / matricesOf(spec);
  return outputs > lanes ? `${outputs} outputs for ${lanes} lanes` : undefined;
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(Math.log2(value));
}
