/**
 * A WebGPU executor that the tests of a process share, with all that it has compiled. On a software
 * adapter a test takes longer to bring its shaders to the device than to run them, also where the
 * driver's cache has them.
 *
 * @module
 */

import { invariant } from "../../graph/mod.ts";
import { openWebGpuExecutor, type WebGpuExecutor } from "../../runtime/webgpu/executor.ts";
import { keepOpen, noAdapterReason } from "./adapter.ts";

// Opened before the first test, so that it is no leak of one.
const shared = noAdapterReason === undefined
  ? await openWebGpuExecutor({ selfTest: false })
  : undefined;
if (shared) keepOpen(shared.device.gpu);

globalThis.addEventListener("unload", () => shared?.dispose());

/**
 * The executor of this process, for tests that dispose of their programs and that need no device of
 * their own: none that count what is allocated, change how a device is opened, or break it.
 */
export function sharedExecutor(): WebGpuExecutor {
  invariant(shared, "there is a device where a test that needs one runs");
  // An error of an earlier test, which is kept, would be taken for one of this.
  shared.device.check();
  return shared;
}

/** Runs a test body with {@linkcode sharedExecutor}. */
export function withSharedExecutor<Result>(
  body: (executor: WebGpuExecutor) => Promise<Result>,
): Promise<Result> {
  return body(sharedExecutor());
}
