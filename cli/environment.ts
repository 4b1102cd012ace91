/**
 * Settings of the process that WebGPU reads when it is first asked.
 *
 * @module
 */

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
