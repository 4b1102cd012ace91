/**
 * What the two ways of attending for single tokens have in common: which sizes they choose, and
 * what they hand to `decode.ts`, which makes dispatches of it.
 *
 * @module
 */

import type { Access } from "../access/access.ts";
import type { Scratch } from "../kernel.ts";
import type { AttentionProblem } from "./operands.ts";

/** How the step's own tokens reach the cache. */
export interface DecodeMode {
  /** Tokens of a sequence in a step at most; the kernel brings them into the cache itself. */
  readonly fresh?: number;
  /** Queries that `attention_append` made; it has filled the cache. */
  readonly ready?: Scratch;
}

/** Sizes of both ways. */
export interface DecodeShape {
  /** Invocations of a workgroup; a power of two. */
  readonly threads: number;
  /** Query heads of a unit; divides the heads of a group. */
  readonly unitHeads: number;
  /** Workgroups that share one context, at most. */
  readonly splits: number;
  /** Positions that each of them has at least; unknown where nothing is said. */
  readonly leastShare?: number;
}

/** One way, for one problem: its text and what the text wants. */
export interface DecodeVariant {
  readonly shape: DecodeShape;
  readonly body: string;
  /** `span_of`: how a context is shared out. */
  readonly share: string;
  /** Beside paging, sinks, cache, `share`, `combine` and hand-over, which all have. */
  readonly access: Access;
  /** `combine`: how the last split joins what all have found, and splits that it loads at a time. */
  readonly combine: string;
  readonly combined: number;
  /** For the plan's report. */
  readonly note: string;
}

/** Constants that follow from sizes and mode. */
export function variantConstants(
  { attrs }: AttentionProblem,
  mode: DecodeMode,
  { unitHeads, splits }: DecodeShape,
) {
  const parts = attrs.heads / attrs.kvHeads / unitHeads;
  return {
    HG: unitHeads,
    HEAD_UNITS: parts,
    UNITS: attrs.kvHeads * parts,
    SPLITS: splits,
    FRESH: mode.fresh !== undefined,
    FRESH_MAX: mode.fresh ?? 1,
    ONLY_SHORT_RUNS: mode.fresh === undefined,
  };
}

/** Numbers of query heads that a unit may have, the largest first. */
export function unitSizes({ attrs }: AttentionProblem, most: number): number[] {
  const group = attrs.heads / attrs.kvHeads;
  return Array.from({ length: most }, (_, i) => most - i).filter((count) => group % count === 0);
}

/** The largest power of two up to a number, from 1 to `most`. */
export function clampPower(value: number, most: number): number {
  let power = 1;
  while (power * 2 <= Math.min(value, most)) power *= 2;
  return power;
}
