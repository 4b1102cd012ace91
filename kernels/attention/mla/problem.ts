/**
 * What the kernels of latent attention share: sizes, inputs, and how work is shared out.
 *
 * @module
 */

import {
  type AttrsOf,
  type CacheDtype,
  input,
  type Node,
  optionalInput,
  type WeightFormat,
} from "../../../graph/mod.ts";
import { type Access, fragments, joinAccess, reads, type WeightSpec } from "../../access/access.ts";
import { STEP } from "../../access/extent.ts";
import { LOWEST } from "../../compose.ts";
import type { DeviceProfile, LoweringContext } from "../../kernel.ts";
import { sharesOfSlot } from "../../reduce/reduction.ts";
import type { AttentionTile } from "../matrix_tiles.ts";
import paging from "../paging.wgsl" with { type: "text" };
import sharesText from "./shares.wgsl" with { type: "text" };

/** Heads whose sums an invocation of `attend.wgsl` holds at a time. */
const MAX_UNIT = 4;
/** Keys that are worth a workgroup. */
const LEAST_SHARE = 32;
/** Workgroups that keep a large GPU busy. */
const WANTED_WORKGROUPS = 264;
const MAX_SPLITS = 32;
const MOST_GROUPS_ON_CPU = 4;

/** How the sequences of a step are expanded that it pays for. */
export interface Expansion {
  /** Tokens of a sequence in a step from which it may pay, and from which it does at any context. */
  readonly least: number;
  readonly sure: number;
  /**
   * It pays while the products of earlier tokens' latents are fewer than those it saves:
   * earlier · perToken <= pairs of queries and keys · perPair.
   */
  readonly perToken: number;
  readonly perPair: number;
  /** Tokens of a stretch, whose keys and values are there at a time, and stretches of a step. */
  readonly rows: number;
  readonly stretches: number;
  /** What multiplies keys and values, if anything but single numbers does, and their format. */
  readonly matrices?: AttentionTile;
  readonly format: "f16" | "f32";
  /** Rows of the block table, at most. */
  readonly slots: number;
}

/** A node with what lowering asks of it again and again. */
export interface MlaProblem {
  readonly node: Node<"cached_mla_attention">;
  readonly attrs: AttrsOf<"cached_mla_attention">;
  readonly weight: WeightSpec;
  /** What makes queries of latents, if anything does. */
  readonly queryWeight?: WeightSpec;
  readonly cacheFormat: CacheDtype;
  readonly context: LoweringContext;
  /** Words of 8 numbers of a latent. */
  readonly words: number;
  /** Heads of a workgroup of `attend.wgsl`, and its invocations; none where memory is short. */
  readonly unit: number;
  readonly invocations: number;
  /** Workgroups that share a context, at most. */
  readonly splits: number;
  /** Which sequences are expanded; none when absent. */
  readonly expansion?: Expansion;
}

/** The problem of a node. */
export function problemOf(
  node: Node<"cached_mla_attention">,
  context: LoweringContext,
): MlaProblem {
  const { heads, latentDim, cache } = node.attrs;
  const [w, up] = [input(node, "w"), optionalInput(node, "q_w")];
  const { unit, invocations } = attendShape(node.attrs, context);
  const units = (heads / Math.max(1, unit)) * context.tokens.max;
  const splits = Math.max(1, Math.min(MAX_SPLITS, Math.floor(WANTED_WORKGROUPS / units)));
  return {
    node,
    attrs: node.attrs,
    weight: { format: w.dtype as WeightFormat, payload: w, columns: latentDim },
    ...(up && {
      queryWeight: { format: up.dtype as WeightFormat, payload: up, columns: Number(up.shape[1]) },
    }),
    cacheFormat: context.cacheDtype(cache),
    context,
    words: Math.ceil(latentDim / 8),
    unit,
    invocations,
    splits: context.profile.software ? 1 : splits,
  };
}

/** The most heads, and the widest workgroup, that workgroup memory allows. */
function attendShape(
  { heads, latentDim, ropeDim }: AttrsOf<"cached_mla_attention">,
  { profile }: LoweringContext,
): { unit: number; invocations: number } {
  const width = latentDim + ropeDim;
  for (const unit of [MAX_UNIT, 2, 1].filter((count) => heads % count === 0)) {
    for (const invocations of profile.software ? [128] : [256, 128]) {
      // Queries; weights, rows and sums of keys; what reductions pass.
      const bytes = 4 * unit * width + 52 * invocations +
        8 * unit * sharesOfSlot(profile, invocations) +
        (profile.subgroups ? 0 : 16 * invocations);
      const fits = bytes <= profile.maxWorkgroupStorageBytes;
      if (fits && invocations <= profile.maxInvocations && latentDim <= 8 * invocations) {
        return { unit, invocations };
      }
    }
  }
  return { unit: 0, invocations: 0 };
}

/** Constants that all kernels share. */
export function sizeConstants({ attrs, context, words, splits }: MlaProblem) {
  const { heads, nopeDim, ropeDim, valueDim, latentDim } = attrs;
  return {
    ...{ HEADS: heads, N: nopeDim, R: ropeDim, V: valueDim, L: latentDim },
    ...{ D: latentDim + ropeDim, KV_HEADS: 1, PAGE: context.pageSize, WINDOW: 0, LONG_RUN: 1 },
    ...{ WORDS: words, SPLITS: splits, LEAST_SHARE, LOWEST },
  };
}

/** The step's positions, and how keys are found and shared out. */
export function stepAccess({ node }: MlaProblem): Access {
  const names = ["positions", "sequence_ids", "block_table"];
  return joinAccess(
    ...names.map((name) => reads(name, "i32", input(node, name))),
    STEP,
    fragments(paging, sharesText),
  );
}

/**
 * Groups that share `words` words, so that none of so many invocations is idle: a power of two. A
 * software adapter has few, as it writes their sum out one by one: 32 groups take four times as long
 * to compile. Latents of 256 numbers and more have as many there as on a GPU.
 */
export function groupsOver(
  words: number,
  invocations: number,
  { software }: Pick<DeviceProfile, "software">,
): number {
  const most = software ? MOST_GROUPS_ON_CPU : invocations;
  let groups = 1;
  while (groups < most && 2 * groups * words <= invocations) groups *= 2;
  return groups;
}

/** In how many pieces the work of a head is cut so that a large GPU is busy; `most` at most. */
export function piecesOfHead({ attrs, context }: MlaProblem, most: number): number {
  if (context.profile.software) return 1;
  const wanted = WANTED_WORKGROUPS / (attrs.heads * context.tokens.max);
  return Math.max(1, Math.min(most, Math.floor(wanted)));
}
