/**
 * Waiting for what another process is about to do.
 *
 * @module
 */

import assert from "node:assert/strict";

/** Asks every few milliseconds whether something has happened; fails when it takes too long. */
export async function until(
  happened: () => boolean | Promise<boolean>,
  milliseconds = 10_000,
): Promise<void> {
  const end = performance.now() + milliseconds;
  while (!(await happened())) {
    if (performance.now() > end) assert.fail(`it did not happen within ${milliseconds} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
