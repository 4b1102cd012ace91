/**
 * The list of providers of WebGPU.
 *
 * @module
 */

import { dawnProvider } from "./dawn.ts";
import { nativeProvider } from "./native.ts";
import type { WebGpuProvider } from "./provider.ts";

/** Every provider by its value of the setting `webgpu`; the first is the default. */
const PROVIDERS: Readonly<Record<WebGpuChoice, WebGpuProvider>> = {
  native: nativeProvider,
  dawn: dawnProvider(),
};

/** Value of the setting `webgpu`. */
export type WebGpuChoice = "native" | "dawn";

/** Values of the setting `webgpu`. */
export const WEBGPU_CHOICES = ["native", "dawn"] as const satisfies readonly WebGpuChoice[];

/** The provider of a name; Deno's own when nothing is given. */
export function webGpuProvider(choice: WebGpuChoice = "native"): WebGpuProvider {
  return PROVIDERS[choice];
}

export type { ReadMode, WebGpuProvider } from "./provider.ts";
