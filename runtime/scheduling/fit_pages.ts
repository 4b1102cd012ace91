/**
 * As many pages as the device has memory for. WebGPU does not say how much there is: it is found out
 * by allocating, which a program does before any weight is read.
 *
 * @module
 */

import { DeviceError } from "../../graph/mod.ts";
import { pagesFor } from "./kv_cache.ts";
import type { StepLimits } from "./step_limits.ts";

/** A program, and the limits for which there was memory. */
export interface Fitted<Program> {
  readonly program: Program;
  readonly limits: StepLimits;
}

/**
 * Compiles a program; while there is no memory for something other than weights, again with half the
 * pages, down to those of the longest sequence. `note` is told about each time.
 *
 * @throws {DeviceError} `device/out-of-memory` when that is too much as well.
 */
export async function compileWithPages<Program>(
  wanted: StepLimits,
  compile: (limits: StepLimits) => Promise<Program>,
  note: (text: string) => void,
): Promise<Fitted<Program>> {
  const least = pagesFor(wanted.maxSequenceTokens, wanted.pageSize);
  for (let limits = wanted;;) {
    try {
      return { program: await compile(limits), limits };
    } catch (error) {
      const pages = Math.max(least, Math.floor(limits.pages / 2));
      if (!isShortOfMemory(error) || wanted.recompute || pages >= limits.pages) throw error;
      note(`The KV cache has ${pages} pages instead of ${limits.pages}: ${error.message}`);
      limits = { ...limits, pages, pagesReason: "what the device had memory for" };
    }
  }
}

function isShortOfMemory(error: unknown): error is DeviceError {
  return error instanceof DeviceError && error.code === "device/out-of-memory" &&
    !String(error.details.what).startsWith("weight");
}
