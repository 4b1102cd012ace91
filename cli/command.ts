/**
 * What a command gets to work with.
 *
 * @module
 */

import type { Terminal } from "./terminal.ts";

/** The surroundings of a command. */
export interface CommandContext {
  readonly terminal: Terminal;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}
