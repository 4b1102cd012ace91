/**
 * The list of providers of WebGPU.
 *
 * @module
 */

import { dawnProvider } from "./dawn.ts";
import { nativeProvider } from "./native.ts";
import type { WebGpuProvider } from "./provider.ts";

/** Every provider by its value of the setting `webgpu`; the first is the default. */
const PROVIDERS = {
  native: nativeProvider,
  dawn: dawnProvider(),
} satisfies Readonly<Record<string, WebGpuProvider>>;

/** Value of the setting `webgpu`. */
export type WebGpuChoice = keyof typeof PROVIDERS;

/** Values of the setting `webgpu`. */
export const WEBGPU_CHOICES = ["native", "dawn"] as const satisfies readonly WebGpuChoice[];

/** The provider of a name, or a provider as it is; Deno's own when nothing is given. */
export function webGpuProvider(choice: WebGpuChoice | WebGpuProvider = "native"): WebGpuProvider {
  return typeof choice === "string" ? PROVIDERS[choice] : choice;
}

export type { ReadMode, WebGpuProvider } from "./provider.ts";
