/**
 * Progress of a download or of loading weights: a bar on a terminal, one line elsewhere.
 *
 * @module
 */

// @ts-types="./cli_progress.d.ts"
import cliProgress, { type SingleBar } from "../deps/cli_progress.ts";
import { formatBytes, formatDuration, formatRate } from "./format.ts";
import type { Terminal } from "./terminal.ts";

/** Shows how much of the weights, or of a download, is done. */
export class ByteProgress {
  #bar: SingleBar | undefined;
  #started = 0;
  #bytes = 0;
  #isDone = false;

  /** `label` stands in front of the bar, and of the line that it leaves. */
  constructor(readonly terminal: Terminal, readonly label: string) {}

  /** Takes the bytes loaded so far; the first call shows the bar, the last one closes it. */
  update(bytes: number, totalBytes: number): void {
    if (this.#isDone) return;
    if (this.#started === 0) this.#start(totalBytes);
    this.#bytes = bytes;
    this.#bar?.update(bytes, this.#payload(bytes));
    if (bytes >= totalBytes) this.close();
  }

  /** Takes the bar away and leaves one line; safe to call twice. */
  close(): void {
    if (this.#started === 0 || this.#isDone) return;
    this.#isDone = true;
    this.#bar?.stop();
    const { bytes, rate } = this.#payload(this.#bytes);
    const time = formatDuration(performance.now() - this.#started);
    const label = this.terminal.style.bold(this.label.padEnd(11));
    this.terminal.progress(`${label} ${bytes} in ${time} (${rate})`);
  }

  #start(totalBytes: number): void {
    this.#started = performance.now();
    if (!this.terminal.isLive) return;
    this.#bar = new cliProgress.SingleBar({
      format: "{label} {bar} {percentage}%  {bytes} of {size}  {rate}",
      hideCursor: true,
      clearOnComplete: true,
      barsize: 30,
    }, cliProgress.Presets.shades_classic);
    this.#bar.start(totalBytes, 0, {
      ...this.#payload(0),
      label: this.label.padEnd(11),
      size: formatBytes(totalBytes),
    });
  }

  #payload(bytes: number): { bytes: string; rate: string } {
    const seconds = (performance.now() - this.#started) / 1000;
    const rate = seconds > 0 ? bytes / seconds / 1e6 : 0;
    return { bytes: formatBytes(bytes), rate: `${formatRate(rate)} MB/s` };
  }
}
