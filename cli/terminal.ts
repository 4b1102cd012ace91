/**
 * The two streams of a command: stdout for results, stderr for everything about getting there.
 *
 * @module
 */

import { messageOf, OutputError } from "../graph/mod.ts";

/** Where a command writes. What stderr does not take is dropped: a result matters more than progress. */
export interface Terminal {
  /**
   * Writes a result as it is, with no line break added.
   *
   * @throws {OutputError} `output/stdout`, on a full disk for instance.
   * @throws {Deno.errors.BrokenPipe} when the reader has left.
   */
  result(text: string): void;
  /** Writes a line about progress; nothing when quiet. */
  progress(line: string): void;
  /** Writes a line that is seen even when quiet. */
  complain(line: string): void;
  /** Shows a line that the next one replaces; only when {@linkcode Terminal.isLive}. */
  live(line: string): void;
  /** Colours of stderr. */
  readonly style: Style;
  /** Colours of stdout. */
  readonly resultStyle: Style;
  /** Whether stderr can show a line that changes. */
  readonly isLive: boolean;
  /** One JSON document instead of text on stdout. */
  readonly json: boolean;
}

/** Styles for a word; without colour each returns the word unchanged. */
export type Style = Readonly<Record<keyof typeof CODES, (text: string) => string>>;

/** SGR codes that switch on and off. */
const CODES = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
} as const;

/** Opens the process's streams. `quiet` leaves stderr to errors. */
export function openTerminal(options: { json?: boolean; quiet?: boolean } = {}): Terminal {
  const silent = options.quiet === true;
  const live = Deno.stderr.isTerminal() && !isDumb();
  let isShowing = false;
  const eraseLive = () => {
    const erase = isShowing ? "\r\x1b[K" : "";
    isShowing = false;
    return erase;
  };
  return {
    result(text) {
      tell(eraseLive());
      writeResult(text);
    },
    progress: (line) => silent || tell(`${eraseLive()}${line}\n`),
    live(line) {
      if (silent || !live) return;
      tell(`\r\x1b[K${line}`);
      isShowing = true;
    },
    complain: (line) => tell(`${eraseLive()}${line}\n`),
    style: styleOf(Deno.stderr.isTerminal()),
    resultStyle: styleOf(Deno.stdout.isTerminal()),
    isLive: live && !silent,
    json: options.json === true,
  };
}

/**
 * Colours for a terminal; none elsewhere, on one that says it has none (`TERM=dumb`), or where
 * `NO_COLOR` is set (no-color.org).
 */
export function styleOf(isTerminal: boolean): Style {
  const isColored = isTerminal && !isDumb() && !Deno.env.get("NO_COLOR");
  const wrap = ([on, off]: readonly [number, number]) => (text: string) =>
    isColored ? `\x1b[${on}m${text}\x1b[${off}m` : text;
  return {
    bold: wrap(CODES.bold),
    dim: wrap(CODES.dim),
    red: wrap(CODES.red),
    green: wrap(CODES.green),
    yellow: wrap(CODES.yellow),
    cyan: wrap(CODES.cyan),
  };
}

/** Whether the terminal understands no escape sequences, as Emacs' shell does not. */
function isDumb(): boolean {
  return Deno.env.get("TERM") === "dumb";
}

/** Writes to stderr, or nowhere when it takes nothing. */
function tell(text: string): void {
  try {
    write(Deno.stderr, text);
  } catch {
    // There is no other place to say so.
  }
}

function writeResult(text: string): void {
  try {
    write(Deno.stdout, text);
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) throw error;
    throw new OutputError(
      "output/stdout",
      `Cannot write the result to standard output: ${messageOf(error)}`,
      { hint: "Free space on the disk, or send the output elsewhere", cause: error },
    );
  }
}

/** Writes all bytes at once: a reader sees a token when it is made. */
function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) done += stream.writeSync(bytes.subarray(done));
}
