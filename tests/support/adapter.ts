/**
 * Tests that need a GPU. Without an adapter they are left out, each with its name and the reason,
 * and counted at the end of the run.
 *
 * @module
 */

import { openWebGpuExecutor, type WebGpuExecutor } from "../../runtime/webgpu/executor.ts";
import { messageOf } from "../../graph/mod.ts";
import { dawnProvider } from "../../runtime/webgpu/providers/dawn.ts";
import { nativeProvider } from "../../runtime/webgpu/providers/native.ts";
import { IS_QUICK } from "./quick.ts";

/** Whether everything that would run on Deno's own WebGPU runs on Dawn's: `deno task test --dawn`. */
export const ON_DAWN: boolean = Deno.env.get("MIXLINE_TEST_WEBGPU") === "dawn";

if (ON_DAWN) Object.assign(nativeProvider, dawnProvider());

/** What adapters of the machine have in common. */
let adapterPrototype: GPUAdapter | undefined;

/** Why there is no GPU here, or undefined when there is one. */
export const noAdapterReason: string | undefined = await findReason();

/** Devices that were opened and not yet found closed. */
const openDevices: GPUDevice[] = [];

/** `Deno.test` for a test that needs WebGPU. It closes every device that it opens. */
export function webgpuTest(name: string, fn: (t: Deno.TestContext) => void | Promise<void>): void {
  if (noAdapterReason !== undefined) {
    Deno.test({ name: `${name} [left out: ${noAdapterReason}]`, ignore: true, fn });
    return;
  }
  watchDevices();
  Deno.test(name, async (t) => {
    try {
      await fn(t);
    } finally {
      await settleDevices();
    }
  });
}

/** A test of what is there, or can be watched, in Deno's own WebGPU alone; `--dawn` leaves it out. */
export function nativeTest(name: string, fn: (t: Deno.TestContext) => void | Promise<void>): void {
  if (!ON_DAWN) return webgpuTest(name, fn);
  Deno.test({ name: `${name} [left out: of Deno's own WebGPU]`, ignore: true, fn });
}

/** Remembers the devices that are opened from now on. */
function watchDevices(): void {
  if (!adapterPrototype) return;
  const { requestDevice } = adapterPrototype;
  if (requestDevice.name === "requestWatchedDevice") return;
  adapterPrototype.requestDevice = async function requestWatchedDevice(descriptor) {
    const device = await requestDevice.call(this, descriptor);
    openDevices.push(device);
    return device;
  };
}

/** Says of a device that it outlives the tests. */
export function keepOpen(device: GPUDevice): void {
  const at = openDevices.indexOf(device);
  if (at >= 0) openDevices.splice(at, 1);
}

/**
 * Waits for the `lost` promises of the devices that a test has closed: pending, they look like leaks.
 * A device that is still open is one.
 */
async function settleDevices(): Promise<void> {
  const devices = openDevices.splice(0);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("the test left a device open")), 5000);
  });
  try {
    await Promise.race([Promise.all(devices.map(({ lost }) => lost)), late]);
  } finally {
    clearTimeout(timer);
  }
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
  if (IS_QUICK) return "--quick";
  try {
    const adapter = await (await nativeProvider.open())?.requestAdapter();
    if (adapter) adapterPrototype = Object.getPrototypeOf(adapter);
    return adapter
      ? undefined
      : "no WebGPU adapter; install mesa-vulkan-drivers for a software one";
  } catch (error) {
    return messageOf(error);
  }
}
