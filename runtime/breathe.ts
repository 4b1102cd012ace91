/**
 * A turn for everything else: reading results synchronously never leaves the event loop a turn, so
 * timers, signals and sockets would starve.
 *
 * @module
 */

import { setImmediate } from "node:timers";

/**
 * Resolves in the next turn of the event loop. An immediate costs about 10 µs in Deno, a timeout of
 * 0 more than 2 ms.
 */
export function breathe(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(() => resolve());
  });
}
