/**
 * The numbers that a tuner may choose for an MoE layer, whether a device can run them, and the
 * heuristic for layers that nobody has tuned.
 *
 * @module
 */

import type { WeightFormat } from "../../graph/mod.ts";
import type { DeviceProfile } from "../kernel.ts";
import { weightRowBytes } from "../weight_access.ts";
import { matricesOf, type MoeSpec } from "./spec.ts";

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
  /** False multiplies straight from memory: only where subgroups have one size. */
  readonly staged: boolean;
}

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
  /** Weight rows of one group of lanes; a multiple of 4. */
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
export function gemmThreads(blockM: number, { blockN, threadM, threadN }: GemmTile): number {
  return (blockM / threadM) * (blockN / threadN);
}

/** Workgroup memory of a grouped GEMM in bytes: both tiles, a vector of padding on every row. */
export function gemmStorage(blockM: number, { blockN, blockK, staged }: GemmTile): number {
  return staged ? (blockM + blockN) * (blockK / 4 + 1) * 16 : 0;
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
  if (threadM * threadN > 128) return `${text}: more than 128 sums an invocation`;
  if (!tile.staged) {
    const { subgroups = false, subgroupSize = 1 } = spec.profile ?? {};
    if (!subgroups) return `${text}: needs subgroups to share rows without workgroup memory`;
    if ((blockN / threadN) % subgroupSize !== 0) {
      return `${text}: a subgroup of ${subgroupSize} does not divide its columns`;
    }
    if (threadM > subgroupSize && threadM % subgroupSize !== 0) {
      return `${text}: a subgroup of ${subgroupSize} does not divide ${threadM} rows`;
    }
  }
  const threads = gemmThreads(blockM, tile);
  const most = spec.profile?.maxInvocations ?? 256;
  if (threads > most) return `${text}: ${threads} invocations, the device allows ${most}`;
  return refuseStorage(gemmStorage(blockM, tile), spec.profile);
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
  if (!Number.isInteger(Math.log2(lanes)) || lanes < 8) {
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
  const wrong = [up.values, down.values].find((each) => each % 4 !== 0 || each < 4 || each > 32);
  if (wrong !== undefined) return `${wrong} rows a group: expected 4, 8, .. 32`;
  // Each output is finished by a lane of its own.
  const outputs = up.values / matricesOf(spec);
  return outputs > lanes ? `${outputs} outputs for ${lanes} lanes` : undefined;
}
