/**
 * The output of `tune`, for people and for programs.
 *
 * @module
 */

import type { Ceilings, TunedOp, TunedTokens, TuneProgress } from "../runtime/mod.ts";
import { count, formatDuration } from "./format.ts";
import type { Terminal } from "./terminal.ts";

/** Shows a search while it runs. */
export class TuneView {
  #started = 0;
  #rowsLeft = 0;

  constructor(
    readonly terminal: Terminal,
    device: string,
    readonly ceilings: Ceilings,
  ) {
    const { readBytesPerSecond, flopsPerSecond, clock } = ceilings;
    terminal.progress(`${terminal.style.bold("device")}  ${device}, times by ${clock}`);
    terminal.progress(
      `${terminal.style.bold("limits")}  reads ${(readBytesPerSecond / 1e9).toFixed(1)} GB/s, ${
        (flopsPerSecond / 1e12).toFixed(2)
      } TFLOP/s in f32`,
    );
  }

  /** A table begins. */
  table(file: string, folder: string, known: number, left: number): void {
    this.#rowsLeft = left;
    const { style } = this.terminal;
    const are = known === 1 ? "is" : "are";
    const skipped = known > 0 ? `, ${count(known, "row")} ${are} there already` : "";
    this.terminal.progress(
      `${style.bold("table")}   ${folder}/${file}: ${count(left, "row")} to measure${skipped}`,
    );
  }

  /** A candidate was tried. */
  progress({ tokens, done, total, bestSeconds }: TuneProgress): void {
    if (done === 1) this.#started = performance.now();
    const elapsed = performance.now() - this.#started;
    // The second round is not counted before the first one ends, so this is the least it takes.
    const left = (elapsed / done) * (total - done);
    const next = this.#rowsLeft > 1 ? `, then ${count(this.#rowsLeft - 1, "row")}` : "";
    const line = `T=${tokens}  ${done} of ${count(total, "candidate")}, best ${
      bestSeconds === undefined ? "none yet" : formatDuration(bestSeconds * 1000)
    }, at least ${formatDuration(left)} left${next}`;
    if (this.terminal.isLive) this.terminal.live(line);
    else if (done % 50 === 0) this.terminal.progress(line);
  }

  /** A row is done. */
  row(tokens: number, described: string): void {
    this.#rowsLeft--;
    const line = `T=${tokens}`.padEnd(8) + described;
    if (this.terminal.json) this.terminal.progress(line);
    else this.terminal.result(`${line}\n`);
  }
}

/** Rows of a table for one number of tokens, for the file, for people and for programs. */
export interface MeasuredRows {
  /** The best first. */
  readonly rows: readonly object[];
  readonly line: string;
  readonly facts: object;
}

/** A row of experts with its fractions of the device's ceilings; JSON-safe. */
export function describeExperts(row: TunedTokens, ceilings: Ceilings) {
  const [{ seconds, config }] = row.best;
  const facts = {
    ...row,
    /** Of the measured read bandwidth, for the weights of the experts in use. */
    ofRead: row.activeWeightBytes / seconds / ceilings.readBytesPerSecond,
    /** Of the measured f32 peak. */
    ofFlops: row.flops / seconds / ceilings.flopsPerSecond,
    /** Time of the heuristic divided by the best time. */
    speedup: row.heuristic.seconds / seconds,
  };
  const shares = `${percent(facts.ofRead)} of read bandwidth, ${
    percent(facts.ofFlops)
  } of f32 peak`;
  return { facts, line: lineOf(config.algorithm, seconds, shares, facts) };
}

/** A row of a dense layer or of attention. */
export function describeSizes(row: TunedOp, ceilings: Ceilings) {
  const { best: { seconds }, heuristicSeconds, weightBytes } = row;
  const facts = {
    ...row,
    ofRead: weightBytes / seconds / ceilings.readBytesPerSecond,
    speedup: heuristicSeconds / seconds,
  };
  const share = weightBytes > 0 ? `${percent(facts.ofRead)} of read bandwidth` : "no weights";
  return { facts, line: lineOf("sizes", seconds, share, facts) };
}

function lineOf(
  what: string,
  seconds: number,
  shares: string,
  { speedup, measured, failures }: Pick<TunedOp, "measured" | "failures"> & { speedup: number },
): string {
  return `${formatDuration(seconds * 1000).padStart(9)}  ${what.padEnd(8)}  ${shares}, ` +
    `${speedup.toFixed(2)}x the heuristic, ${measured} measured` +
    (failures.length > 0 ? `, ${failures.length} failed` : "");
}

function percent(fraction: number): string {
  return `${(100 * fraction).toFixed(1)} %`;
}
