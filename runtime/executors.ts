/**
 * Which executor runs: the one asked for, or the GPU where one works.
 *
 * @module
 */

import { DeviceError } from "../graph/mod.ts";
import type { DeviceProfile } from "../kernels/mod.ts";
import { openCpuExecutor } from "./cpu/executor.ts";
import type { Executor } from "./executor.ts";
import { findSoftwareAdapter } from "./webgpu/device/device.ts";
import { openWebGpuExecutor, type WebGpuExecutorOptions } from "./webgpu/executor.ts";

/** Choices of an executor; `auto` takes WebGPU where a GPU works. */
export const EXECUTOR_CHOICES = ["auto", "webgpu", "cpu"] as const;

/** Choice of an executor. */
export type ExecutorChoice = (typeof EXECUTOR_CHOICES)[number];

/** An executor and why it was taken. */
export interface OpenedExecutor {
  /** Whoever opened it disposes of it. */
  readonly executor: Executor;
  /** One line for people. */
  readonly reason: string;
  /** Facts of the device; absent on the CPU. */
  readonly profile?: DeviceProfile;
}

/**
 * Opens the chosen executor. With `auto` a machine without a usable GPU, or with a software adapter
 * alone, gets the CPU and the reason; with `webgpu` it gets the adapter, or the {@linkcode DeviceError}.
 *
 * @example
 * ```ts
 * import { openExecutor } from "./executors.ts";
 * const { executor, reason } = await openExecutor("cpu");
 * console.assert(executor.kind === "cpu" && reason === "asked for");
 * executor.dispose();
 * ```
 */
export async function openExecutor(
  choice: ExecutorChoice = "auto",
  options: WebGpuExecutorOptions = {},
): Promise<OpenedExecutor> {
  if (choice === "cpu") return { executor: openCpuExecutor(), reason: "asked for" };
  try {
    // A software adapter computes on the CPU too, and slower than the CPU executor does.
    const software = choice === "auto" ? await findSoftwareAdapter(options) : undefined;
    if (software !== undefined) {
      const reason = `the only WebGPU adapter, ${software}, is a software one, which is slower`;
      return { executor: openCpuExecutor({ reason }), reason };
    }
    const executor = await openWebGpuExecutor(options);
    const reason = choice === "webgpu" ? "asked for" : "a GPU is there and passed the self-test";
    return { executor, reason, profile: executor.device.profile };
  } catch (error) {
    if (choice === "webgpu" || !(error instanceof DeviceError)) throw error;
    // Whoever names a provider wants to know why it cannot be had.
    if (error.code.startsWith("device/provider")) throw error;
    const reason = error.code === "device/no-adapter" ? "no WebGPU adapter" : error.message;
    return { executor: openCpuExecutor({ reason }), reason };
  }
}
