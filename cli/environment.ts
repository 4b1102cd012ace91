/**
 * Settings of the process: what WebGPU reads when it is first asked, and where paths start.
 *
 * @module
 */

import { fileURLToPath } from "node:url";

/**
 * On Linux: Vulkan alone, so that a machine without it falls to the CPU executor and not to an
 * OpenGL adapter with half of the limits; and no complaint of Mesa's window-system code, which
 * writes to stderr where `XDG_RUNTIME_DIR` is unset. What the user has set stays.
 */
export function prepareGpuEnvironment(): void {
  if (Deno.build.os !== "linux") return;
  for (
    const [name, value] of [["DENO_WEBGPU_BACKEND", "vulkan"], ["XDG_RUNTIME_DIR", "/nonexistent"]]
  ) {
    if (Deno.env.get(name) === undefined) Deno.env.set(name, value);
  }
}

/**
 * Lets relative paths start where the user stands: `deno task` runs in the folder of `deno.json`
 * and leaves the user's own in `INIT_CWD`.
 */
export function enterUserFolder(): void {
  const userFolder = Deno.env.get("INIT_CWD");
  const taskFolder = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");
  if (userFolder !== undefined && Deno.cwd() === taskFolder) Deno.chdir(userFolder);
}
