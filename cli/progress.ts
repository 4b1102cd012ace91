/**
 * What a person sees while weights load: a bar on a terminal, one line elsewhere.
 *
 * @module
 */

// @ts-types="./cli_progress.d.ts"
import cliProgress, { type SingleBar } from "cli-progress";
import { formatBytes, formatDuration, formatRate } from "./format.ts";
import type { Terminal } from "./terminal.ts";

/** Shows how far the weights are. */
export class WeightProgress {
  #bar: SingleBar | undefined;
  #started = 0;
  #totalBytes = 0;
  #isDone = false;

  constructor(readonly terminal: Terminal) {}

  /** Takes the bytes loaded so far; the first call shows the bar, the last one closes it. */
  update(bytes: number, totalBytes: number): void {
    if (this.#isDone) return;
    if (this.#started === 0) this.#start(totalBytes);
    this.#bar?.update(bytes, this.#payload(bytes));
    if (bytes >= totalBytes) this.close();
  }

  /** Takes the bar away and leaves one line; safe to call twice. */
  close(): void {
    if (this.#started === 0 || this.#isDone) return;
    this.#isDone = true;
    this.#bar?.stop();
    const { bytes, rate } = this.#payload(this.#totalBytes);
    const time = formatDuration(performance.now() - this.#started);
    const label = this.terminal.style.bold("weights".padEnd(11));
    this.terminal.progress(`${label} ${bytes} in ${time} (${rate})`);
  }

  #start(totalBytes: number): void {
    this.#started = performance.now();
    this.#totalBytes = totalBytes;
    if (!this.terminal.isLive) return;
    this.#bar = new cliProgress.SingleBar({
      format: "weights     {bar} {percentage}%  {bytes} of {size}  {rate}",
      hideCursor: true,
      clearOnComplete: true,
      barsize: 30,
    }, cliProgress.Presets.shades_classic);
    this.#bar.start(totalBytes, 0, { ...this.#payload(0), size: formatBytes(totalBytes) });
  }

  #payload(bytes: number): { bytes: string; rate: string } {
    const seconds = (performance.now() - this.#started) / 1000;
    const rate = seconds > 0 ? bytes / seconds / 1e6 : 0;
    return { bytes: formatBytes(bytes), rate: `${formatRate(rate)} MB/s` };
  }
}
