/**
 * What a test may cost. Bounds are on the time that the process computed: the time that passed also
 * counts what other processes of a busy machine do, which is no fault of the code under test.
 *
 * @module
 */

import process from "node:process";

/** Starts a clock; the result tells the milliseconds that all threads of this process have computed since. */
export function cpuTimer(): () => number {
  const start = process.cpuUsage();
  return () => {
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000;
  };
}
