/**
 * Tests that need a GPU. Without an adapter they are left out, each with its name and the reason,
 * and counted at the end of the run.
 *
 * @module
 */

import { openWebGpuExecutor, type WebGpuExecutor } from "../../runtime/webgpu/executor.ts";
import { messageOf } from "../../graph/mod.ts";

/** Why there is no GPU here, or undefined when there is one. */
export const noAdapterReason: string | undefined = await findReason();

/** `Deno.test` for a test that needs WebGPU. */
export function webgpuTest(name: string, fn: (t: Deno.TestContext) => void | Promise<void>): void {
  if (noAdapterReason === undefined) {
    Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });
    return;
  }
  Deno.test({ name: `${name} [left out: ${noAdapterReason}]`, ignore: true, fn });
}

/** Runs a test body with an executor of its own, and closes it. */
export async function withExecutor<Result>(
  options: Parameters<typeof openWebGpuExecutor>[0],
  body: (executor: WebGpuExecutor) => Promise<Result>,
): Promise<Result> {
  const executor = await openWebGpuExecutor(options);
  try {
    return await body(executor);
  } finally {
    executor.dispose();
  }
}

async function findReason(): Promise<string | undefined> {
  if (Deno.env.get("MIXLINE_TEST_QUICK")) return "--quick";
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return adapter
      ? undefined
      : "no WebGPU adapter; install mesa-vulkan-drivers for a software one";
  } catch (error) {
    return messageOf(error);
  }
}
