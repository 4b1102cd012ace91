/**
 * What nobody refers to any more.
 *
 * @module
 */

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Collects garbage; to be called in another turn of the event loop than that of the last weak reference. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect: () => void = runInNewContext("gc");
  setFlagsFromString("--no-expose-gc");
  await new Promise((resolve) => setTimeout(resolve, 1));
  collect();
}
