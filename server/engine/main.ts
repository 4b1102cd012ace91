/**
 * Entry of the engine's process, which the server starts: calls on stdin, events on stdout.
 *
 * @module
 */

import { hostEngine } from "./host.ts";
import { encodeLine, type EngineEvent } from "./protocol.ts";

if (import.meta.main) Deno.exit(await runEngineProcess());

/** Serves the process that started this one, until that closes the line. Gives the exit code. */
async function runEngineProcess(): Promise<number> {
  // The server ends its engine itself, after the requests in flight.
  Deno.addSignalListener("SIGINT", () => {});
  Deno.addSignalListener("SIGTERM", () => {});
  const encoder = new TextEncoder();
  let waiting = "";
  const flush = () => {
    const bytes = encoder.encode(waiting);
    waiting = "";
    for (let done = 0; done < bytes.length;) done += Deno.stdout.writeSync(bytes.subarray(done));
  };
  // The pieces of one step leave together: a write for each would cost more than the step's rest.
  const send = (event: EngineEvent) => {
    if (waiting === "") queueMicrotask(flush);
    waiting += encodeLine(event);
  };
  const code = await hostEngine(Deno.stdin.readable, send);
  flush();
  return code;
}
