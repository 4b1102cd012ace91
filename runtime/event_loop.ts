/**
 * Time for everything else. Results are read synchronously, so code that only runs steps would never
 * return to the event loop, and timers, signals and sockets would not be served.
 *
 * @module
 */

import { setImmediate } from "node:timers";

/**
 * Resolves once the event loop has served what was waiting. An immediate costs about 10 µs in Deno, a
 * timeout of 0 more than 2 ms.
 */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(() => resolve());
  });
}
