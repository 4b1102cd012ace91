/**
 * A deployment as it happens, one line per event: model, device, transforms, weights.
 *
 * @module
 */

import { type DeployEvent, NOTHING_CHANGED, type VerifyRow } from "../dsl/mod.ts";
import type { TransformRecord } from "../transforms/mod.ts";
import { count, formatBytes, formatDuration } from "./format.ts";
import { ByteProgress } from "./progress.ts";
import type { Terminal } from "./terminal.ts";

/** Widths of the columns of a transform's line. */
const COLUMNS = { key: 28, matches: 11, nodes: 15, time: 8 };

/** Shows what happens while a model is deployed. */
export class DeployView {
  readonly #weights: ByteProgress;
  #download: ByteProgress | undefined;
  #hasHeading = false;
  #withoutMatch = 0;

  constructor(readonly terminal: Terminal) {
    this.#weights = new ByteProgress(terminal, "weights");
  }

  /** Shows one event. */
  show(event: DeployEvent): void {
    switch (event.kind) {
      case "download":
        return this.#showDownload(event.file, event.bytes, event.totalBytes);
      case "model":
        return this.#line(
          "model",
          `${event.name} (${event.architecture}, ${formatBytes(event.bytes)})`,
        );
      case "executor":
        return this.#line("device", formatDevice(event.description, event.reason));
      case "transform":
        return this.#showTransform(event.record);
      case "verify":
        return this.#showVerification(event.row);
      case "weights":
        this.#endTransforms();
        return this.#weights.update(event.bytes, event.totalBytes);
      case "note":
        return this.#line("note", event.message);
    }
  }

  /** Says that the engine is ready. */
  ready(milliseconds: number): void {
    this.close();
    this.#line("ready", `in ${formatDuration(milliseconds)}\n`);
  }

  /** Restores the terminal, whatever stopped the deployment. */
  close(): void {
    this.#download?.close();
    this.#weights.close();
  }

  /** A bar for each small file would be noise; shards share one. */
  #showDownload(file: string, bytes: number, totalBytes: number): void {
    if (!file.endsWith(".safetensors")) return;
    this.#download ??= new ByteProgress(this.terminal, "download");
    this.#download.update(bytes, totalBytes);
  }

  #line(label: string, text: string): void {
    this.terminal.progress(`${this.terminal.style.bold(label.padEnd(11))} ${text}`);
  }

  #showTransform(record: TransformRecord): void {
    // What is switched off is in the configuration, and in the report.
    if (record.skipped && record.error === undefined) return;
    if (!this.#hasHeading) this.#line("transforms", "matches, nodes, time, weights");
    this.#hasHeading = true;
    const line = `  ${formatTransform(record)}`;
    if (record.error !== undefined) this.terminal.progress(this.terminal.style.yellow(line));
    else if (record.num_matches === 0) this.#withoutMatch++;
    else this.terminal.progress(line);
  }

  #showVerification(row: VerifyRow): void {
    // What matched nothing has changed nothing, which its own line says.
    if (row.skipped === NOTHING_CHANGED) return;
    const { style } = this.terminal;
    const isRight = row.skipped !== undefined ||
      (row.changedTokens === 0 && row.firstBadNode === undefined);
    const lines = formatVerification(row).split("\n").map((line) => `    ${line}`);
    for (const line of lines) {
      this.terminal.progress(isRight ? style.dim(line) : style.yellow(line));
    }
  }

  #endTransforms(): void {
    if (this.#withoutMatch === 0) return;
    const line = `  ${count(this.#withoutMatch, "other")} matched nothing`;
    this.terminal.progress(this.terminal.style.dim(line));
    this.#withoutMatch = 0;
  }
}

/** Mean divergence, in nats, below which a difference is rounding of sums. */
const VISIBLE_DIVERGENCE = 1e-6;

/** The device, and why it was taken where its description does not say so already. */
function formatDevice(description: string, reason: string): string {
  return description.includes(reason) ? description : `${description} (${reason})`;
}

/** `fuse_moe   5 matches   123 -> 123 nodes   1.29 ms   15.9 MB`. */
export function formatTransform(record: TransformRecord): string {
  const { key, num_matches, nodesBefore, nodesAfter, milliseconds } = record;
  if (record.error !== undefined) return `${key.padEnd(COLUMNS.key)} skipped: ${record.error}`;
  const before = formatBytes(record.weightBytesBefore);
  const after = formatBytes(record.weightBytesAfter);
  const nodes = nodesBefore === nodesAfter ? `${nodesAfter}` : `${nodesBefore} -> ${nodesAfter}`;
  const bytes = before === after ? after : `${before} -> ${after}`;
  return [
    key.padEnd(COLUMNS.key),
    count(num_matches, "match", "matches").padStart(COLUMNS.matches),
    `${nodes} nodes`.padStart(COLUMNS.nodes + 6),
    formatDuration(milliseconds).padStart(COLUMNS.time),
    ` ${bytes}`,
  ].join(" ");
}

/**
 * `logits within 1.2e-7 of those after match_moe_pattern, the same tokens`; with
 * `mean divergence 2.1e-3 nats` where a transform changes what the model says, as quantizing does.
 * A compiled program begins with its steps, and has a second line with its first bad node.
 */
export function formatVerification(row: VerifyRow): string {
  const { transform, maxDifference = 0, meanDivergence = 0, against, changedTokens } = row;
  if (row.skipped !== undefined) return `not compared: ${transform}: ${row.skipped}`;
  const tokens = changedTokens === 0
    ? "the same tokens"
    : `${count(changedTokens ?? 0, "token")} changed`;
  const divergence = meanDivergence < VISIBLE_DIVERGENCE
    ? ""
    : `, mean divergence ${meanDivergence.toExponential(1)} nats`;
  const difference = maxDifference.toExponential(1);
  const [start, of] = row.step === undefined
    ? ["", `those after ${against}`]
    : [`${transform}, ${row.step}: `, `those of ${against}`];
  const bad = row.firstBadNode === undefined ? "" : `\nfirst bad node: ${row.firstBadNode}`;
  return `${start}logits within ${difference} of ${of}${divergence}, ${tokens}${bad}`;
}
