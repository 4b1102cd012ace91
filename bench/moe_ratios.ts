/**
 * The result of the comparison of MoE layers: ratios of times from the same rounds.
 *
 * @module
 */

import type { ContestResult, ContestTime } from "./moe_contest.ts";
import { formatRatio, formatSeconds, summarize, type Summary } from "./statistics.ts";

/** How much slower than the better of the others the automatic choice may be. */
const ALLOWED_LOSS = 1.1;

/** How much faster than the baseline the automatic choice must be. */
const WANTED_GAIN = 3;

/** Ratios over a run's cases. */
export interface MoeRatios {
  /** Time of the unfused baseline over that of `auto`, by number of tokens, over the shapes. */
  readonly overUnfused: readonly { readonly tokens: number; readonly ratio: Summary }[];
  /** Time of `auto` over the better of `triton` and `trtllm`, over all cases. */
  readonly ofBetter: Summary;
  /** The case in which `auto` lost most. */
  readonly worst: { readonly layer: string; readonly ratio: number };
}

/** The ratios of a run's cases; undefined when none has both sides. */
export function moeRatios(results: readonly ContestResult[]): MoeRatios | undefined {
  const gains = Map.groupBy(
    results.flatMap((result) => {
      const ratio = medianRatio(result, "unfused", "auto");
      return ratio === undefined ? [] : [{ tokens: result.tokens, ratio }];
    }),
    ({ tokens }) => tokens,
  );
  const losses = results.flatMap((result) => {
    const ratios = ["triton", "trtllm"].map((other) => medianRatio(result, "auto", other))
      .filter((ratio) => ratio !== undefined);
    return ratios.length === 0 ? [] : [{ layer: titleOf(result), ratio: Math.max(...ratios) }];
  });
  if (losses.length === 0) return undefined;
  return {
    overUnfused: [...gains].sort(([a], [b]) => a - b)
      .map(([tokens, list]) => ({ tokens, ratio: summarize(list.map(({ ratio }) => ratio)) })),
    ofBetter: summarize(losses.map(({ ratio }) => ratio)),
    worst: losses.reduce((a, b) => b.ratio > a.ratio ? b : a),
  };
}

/** `Mixtral-8x7B twin, bf16, T = 64` */
export function titleOf(
  { shape, format, tokens }: Pick<ContestResult, "shape" | "format" | "tokens">,
): string {
  return `${shape}, ${format}, T = ${tokens}`;
}

/** The ratios for people. */
export function formatRatios({ overUnfused, ofBetter, worst }: MoeRatios): string {
  const verdict = (fine: boolean) => fine ? "as wanted" : "NOT as wanted";
  return [
    "GPU time, median (lowest .. highest, n):",
    ...overUnfused.map(({ tokens, ratio }) =>
      `  unfused / auto at T = ${tokens}: ${formatRatio(ratio)} shapes` +
      (tokens === 1 || tokens === 64
        ? `; at least ${WANTED_GAIN}: ${verdict(ratio.median >= WANTED_GAIN)}`
        : "")
    ),
    `  auto / better of triton and trtllm: ${formatRatio(ofBetter)} cases; worst ${worst.layer}, ` +
    `at most ${ALLOWED_LOSS}: ${verdict(worst.ratio <= ALLOWED_LOSS)}`,
  ].join("\n");
}

/** One case for people, a line for each contestant. */
export function formatCase(result: ContestResult): string {
  const lines = result.times.map(({ name, seconds, dispatches, sameAs }) => {
    const { n, median, lowest, highest } = seconds;
    const spread = `${formatSeconds(lowest)} .. ${formatSeconds(highest)}, n = ${n}`;
    const own = name === "cpu" ? "wall clock" : `${dispatches} dispatches`;
    const same = sameAs ? `, runs what ${sameAs} runs` : "";
    return `  ${name.padEnd(8)} ${formatSeconds(median).padStart(9)}  (${spread}; ${own}${same})`;
  });
  return [titleOf(result), ...lines].join("\n");
}

/** Median over the rounds of one contestant's time over another's. */
function medianRatio(
  { times }: ContestResult,
  slow: string,
  fast: string,
): number | undefined {
  const [a, b] = [slow, fast].map((wanted) => times.find(({ name }) => name === wanted));
  return a && b && pairedRatio(a, b);
}

function pairedRatio(a: ContestTime, b: ContestTime): number {
  return summarize(a.rounds.map((seconds, round) => seconds / b.rounds[round])).median;
}
