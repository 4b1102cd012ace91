/**
 * Measured sizes of linear layers with few rows of x: the name of their table, what its rows hold, and
 * which sizes a tuner tries.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import type { DeviceProfile, LoweringContext } from "../kernel.ts";
import { sizeDistance } from "../size_distance.ts";
import { formatName, tunedSizes } from "../tuned_table.ts";
import { type GemvShape, gemvShape } from "./gemv.ts";
import type { LinearProblem } from "./problem.ts";

/** Sums that registers of an invocation hold. */
const MOST_SUMS = 64;

/** One row of a table. */
export const gemvRow = z.strictObject({
  THREADS: z.int().positive().describe("invocations of a workgroup: a power of two from 8"),
  ROWS: z.int().positive().max(16).describe("rows of the weight that a workgroup owns"),
  UNROLL: z.int().positive().max(8).describe(
    "words of each row that an invocation has in flight",
  ),
});

type GemvRow = z.infer<typeof gemvRow>;

/** Name of a layer's table: `linear,N=6144,K=2048,device_name=NVIDIA_H100_80GB_HBM3[,dtype=int8_w8a16].json`. */
export function gemvFileName(
  { weight: { format, columns }, outputs }: LinearProblem,
  deviceKey: string,
): string {
  const name = formatName(format);
  const dtype = name === undefined ? "" : `,dtype=${name}`;
  return `linear,N=${outputs},K=${columns},device_name=${deviceKey}${dtype}.json`;
}

/** Why a device cannot run a row for a problem, or undefined when it can. */
function refuseGemv(
  { THREADS, ROWS }: GemvRow,
  columns: number,
  profile: DeviceProfile,
): string | undefined {
  if (THREADS < 8 || !Number.isInteger(Math.log2(THREADS))) {
    return `${THREADS} invocations: expected a power of two from 8`;
  }
  if (THREADS > profile.maxInvocations) {
    return `${THREADS} invocations, the device allows ${profile.maxInvocations}`;
  }
  return ROWS * columns > MOST_SUMS
    ? `${ROWS} rows by ${columns} rows of x: more than ${MOST_SUMS} sums an invocation`
    : undefined;
}

/** The measured sizes of a problem, or those of the heuristic, and a row's place in its table. */
export function chooseGemvShape(
  problem: LinearProblem,
  context: LoweringContext,
): { readonly shape: GemvShape; readonly source?: string } {
  const { profile } = context;
  const usual = gemvShape(problem, profile);
  const tuned = tunedSizes(context, {
    file: gemvFileName(problem, profile.key),
    schema: gemvRow,
    tokens: problem.largestRows,
    refuse: (row) => refuseGemv(row, usual.columns, profile),
  });
  if (!tuned) return { shape: usual };
  const { THREADS, ROWS, UNROLL } = tuned.row;
  const shape = { threads: THREADS, rows: ROWS, columns: usual.columns, unroll: UNROLL };
  return { shape, source: tuned.source };
}

/** Sizes to measure for a problem: those of the heuristic, and what is like them. */
export function gemvCandidates(problem: LinearProblem, profile: DeviceProfile): readonly GemvRow[] {
  const usual = gemvShape(problem, profile);
  const own: GemvRow = { THREADS: usual.threads, ROWS: usual.rows, UNROLL: usual.unroll };
  const sizes = (first: number, ...others: number[]) => [...new Set([first, ...others])];
  return sizes(own.THREADS, 8, 16, 32, 64, 128, 256)
    .flatMap((THREADS) =>
      sizes(own.ROWS, 1, 2, 4, 8).flatMap((ROWS) =>
        sizes(own.UNROLL, 1, 2, 3, 4).map((UNROLL) => ({ THREADS, ROWS, UNROLL }))
      )
    )
    .filter((row) => refuseGemv(row, usual.columns, profile) === undefined)
    .toSorted((a, b) => sizeDistance(own, a) - sizeDistance(own, b));
}
