/**
 * The output of `tune`, for people and for programs.
 *
 * @module
 */

import type { Ceilings, TunedTokens, TuneProgress } from "../runtime/mod.ts";
import { formatDuration } from "./format.ts";
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
    const skipped = known > 0 ? `, ${known} rows are there already` : "";
    this.terminal.progress(
      `${this.terminal.style.bold("table")}   ${folder}/${file}: ${left} rows to measure${skipped}`,
    );
  }

  /** A candidate was tried. */
  progress({ tokens, done, total, bestSeconds }: TuneProgress): void {
    if (done === 1) this.#started = performance.now();
    const elapsed = performance.now() - this.#started;
    // The second round is not counted before the first one ends, so this is the least it takes.
    const left = (elapsed / done) * (total - done);
    const line = `T=${tokens}  ${done}/${total} candidates, best ${
      bestSeconds === undefined ? "none yet" : formatDuration(bestSeconds * 1000)
    }, at least ${formatDuration(left)} left, then ${this.#rowsLeft - 1} rows`;
    if (this.terminal.isLive) this.terminal.live(line);
    else if (done % 50 === 0) this.terminal.progress(line);
  }

  /** A row is done. */
  row(row: TunedTokens): void {
    this.#rowsLeft--;
    const { best, ofRead, ofFlops, speedup } = describeRow(row, this.ceilings);
    const line = `T=${row.tokens}`.padEnd(8) +
      `${formatDuration(best[0].seconds * 1000).padStart(9)}  ${
        best[0].config.algorithm.padEnd(8)
      }` +
      `  ${percent(ofRead)} of read bandwidth, ${percent(ofFlops)} of f32 peak` +
      `, ${speedup.toFixed(2)}x the heuristic, ${row.measured} measured` +
      (row.failures.length > 0 ? `, ${row.failures.length} failed` : "");
    if (this.terminal.json) this.terminal.progress(line);
    else this.terminal.result(`${line}\n`);
  }
}

/** A row with its fractions of the device's ceilings; JSON-safe. */
export function describeRow(row: TunedTokens, ceilings: Ceilings) {
  const { seconds } = row.best[0];
  return {
    ...row,
    /** Of the measured read bandwidth, for the weights of the experts in use. */
    ofRead: row.activeWeightBytes / seconds / ceilings.readBytesPerSecond,
    /** Of the measured f32 peak. */
    ofFlops: row.flops / seconds / ceilings.flopsPerSecond,
    /** Time of the heuristic divided by the best time. */
    speedup: row.heuristic.seconds / seconds,
  };
}

function percent(fraction: number): string {
  return `${(100 * fraction).toFixed(1)} %`;
}
