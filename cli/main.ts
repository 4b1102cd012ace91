/**
 * The command line with all that it needs, a server's libraries too.
 *
 * @module
 */

import { runProgram } from "./program.ts";
import { serveCommand } from "./serve.ts";

if (import.meta.main) Deno.exit(await main(Deno.args));

/** Runs a command line and gives its exit code. */
export function main(argv: readonly string[]): Promise<number> {
  return runProgram(argv, serveCommand);
}
