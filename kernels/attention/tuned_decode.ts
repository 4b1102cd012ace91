/**
 * Measured sizes of attention of single tokens: the name of their table, what its rows hold, and which
 * sizes a tuner tries. They are those of the lean way, which GPUs take.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { sizeDistance } from "../size_distance.ts";
import { tunedSizes } from "../tuned_table.ts";
import type { LanesShape } from "./decode_lanes.ts";
import { refuseLean } from "./decode_lean.ts";
import { type DecodeMode, unitSizes } from "./decode_variant.ts";
import type { AttentionProblem } from "./operands.ts";

/** Query heads of a unit that a tuner tries at most. */
const MOST_HEADS = 8;

/** One row of a table. */
export const decodeRow = z.strictObject({
  THREADS: z.int().positive().describe("invocations of a workgroup: a power of two"),
  UNIT_HEADS: z.int().positive().max(MOST_HEADS)
    .describe("query heads of a workgroup; divides the heads that share a key"),
  UNROLL: z.int().positive().max(16)
    .describe("keys, and values, that each group of lanes has in flight"),
  SPLITS: z.int().positive().describe(
    "workgroups that share one context, at most: a power of two",
  ),
});

type DecodeRow = z.infer<typeof decodeRow>;

/** Name of a layer's table: `attention,H=32,KV=4,D=128,cache=f16,device_name=NVIDIA_H100_80GB_HBM3.json`. */
export function decodeFileName(
  { attrs: { heads, kvHeads, headDim }, cacheFormat, context }: AttentionProblem,
): string {
  const sizes = `H=${heads},KV=${kvHeads},D=${headDim},cache=${cacheFormat}`;
  return `attention,${sizes},device_name=${context.profile.key}.json`;
}

function shapeOf(row: DecodeRow, usual: LanesShape): LanesShape {
  const { THREADS: threads, UNIT_HEADS: unitHeads, UNROLL: unroll, SPLITS: splits } = row;
  return { ...usual, threads, unitHeads, unroll, splits };
}

/** Why a device cannot run a row for a problem, or undefined when it can. */
function refuseDecode(
  problem: AttentionProblem,
  mode: DecodeMode,
  row: DecodeRow,
  usual: LanesShape,
): string | undefined {
  const { THREADS, UNIT_HEADS, SPLITS } = row;
  const wrong = [THREADS, SPLITS].find((each) => !Number.isInteger(Math.log2(each)));
  if (wrong !== undefined) return `${wrong}: expected a power of two`;
  if (SPLITS > usual.splits) return `${SPLITS} splits: ${usual.splits} at most`;
  if (!unitSizes(problem, MOST_HEADS).includes(UNIT_HEADS)) {
    return `${UNIT_HEADS} heads a unit do not divide the heads that share a key`;
  }
  return refuseLean(problem, mode, shapeOf(row, usual));
}

/** The measured sizes of a problem, or `usual`, and a row's place in its table. */
export function chooseDecodeShape(
  problem: AttentionProblem,
  mode: DecodeMode,
  usual: LanesShape,
): { readonly shape: LanesShape; readonly source?: string } {
  const { context } = problem;
  const tuned = tunedSizes(context, {
    file: decodeFileName(problem),
    schema: decodeRow,
    tokens: context.tokens.max,
    refuse: (row) => refuseDecode(problem, mode, row, usual),
  });
  return tuned ? { shape: shapeOf(tuned.row, usual), source: tuned.source } : { shape: usual };
}

/** Sizes to measure for a problem: the usual ones, and what is like them. */
export function decodeCandidates(
  problem: AttentionProblem,
  mode: DecodeMode,
  usual: LanesShape,
): readonly DecodeRow[] {
  const own: DecodeRow = {
    ...{ THREADS: usual.threads, UNIT_HEADS: usual.unitHeads },
    ...{ UNROLL: usual.unroll, SPLITS: usual.splits },
  };
  const splits = [...new Set([usual.splits, 8, 16, 32])];
  return [64, 128, 256, 512]
    .flatMap((THREADS) =>
      unitSizes(problem, MOST_HEADS).flatMap((UNIT_HEADS) =>
        [1, 2, 4, 8].flatMap((UNROLL) =>
          splits.map((SPLITS) => ({ THREADS, UNIT_HEADS, UNROLL, SPLITS }))
        )
      )
    )
    .filter((row) => refuseDecode(problem, mode, row, usual) === undefined)
    .toSorted((a, b) => sizeDistance(own, a) - sizeDistance(own, b));
}
