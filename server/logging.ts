/**
 * Logs: one line per event on stderr, for people on a terminal and JSON for programs.
 *
 * @module
 */

import {
  configureLogs,
  disposeLogs,
  getAnsiColorFormatter,
  getLogger,
  type Logger,
  type LogRecord,
} from "../deps/logtape.ts";

/** How lines look. */
export interface LogOptions {
  /** `text` for people, `json` for programs. */
  readonly format: "text" | "json";
  /** The least serious lines to write. */
  readonly level: "debug" | "info" | "warning" | "error";
  readonly colors: boolean;
}

/** A log that is written until it is disposed. */
export interface OpenLog extends AsyncDisposable {
  readonly log: Logger;
}

/** Opens the log. */
export async function openLog({ format, level, colors }: LogOptions): Promise<OpenLog> {
  const pretty = getAnsiColorFormatter({ timestamp: "time" });
  const plain = (record: LogRecord) => stripColors(pretty(record));
  const text = format === "json" ? jsonLine : colors ? pretty : plain;
  const encoder = new TextEncoder();
  await configureLogs({
    reset: true,
    sinks: { stderr: (record) => write(encoder.encode(text(record))) },
    loggers: [
      { category: "mixline", sinks: ["stderr"], lowestLevel: level },
      { category: ["logtape", "meta"], sinks: ["stderr"], lowestLevel: "warning" },
    ],
  });
  return { log: getLogger(["mixline", "server"]), [Symbol.asyncDispose]: disposeLogs };
}

/** A full disk or a closed pipe must not end the server. */
function write(bytes: Uint8Array): void {
  try {
    for (let done = 0; done < bytes.length;) done += Deno.stderr.writeSync(bytes.subarray(done));
  } catch (error) {
    if (!(error instanceof Error)) throw error;
  }
}

function jsonLine({ timestamp, level, category, message, properties }: LogRecord): string {
  const text = message.map((part) => typeof part === "string" ? part : String(part)).join("");
  const time = new Date(timestamp).toISOString();
  const own = { time, level, logger: category.join("."), message: text };
  // They come first, and no property takes their place.
  return `${JSON.stringify({ ...own, ...properties, ...own })}\n`;
}

/** An escape sequence that sets a colour. */
const COLOR = new RegExp("\u001b\\[[0-9;]*m", "g");

function stripColors(text: string): string {
  return text.replaceAll(COLOR, "");
}
