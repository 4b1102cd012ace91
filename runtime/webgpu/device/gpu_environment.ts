/**
 * Environment variables that Deno's WebGPU and the Vulkan loader read when the first adapter is asked
 * for. A program may set them in its own process before that, as the command line does; the library
 * only reads them.
 *
 * @module
 */

/**
 * Values for a program on Linux whose user has set none:
 *
 * - `DENO_WEBGPU_BACKEND`: Vulkan alone, so that OpenGL is not probed
 * - `XDG_RUNTIME_DIR`: containers set none, and a window-system library then complains on stderr
 */
export const GPU_ENVIRONMENT: Readonly<Record<string, string>> = Deno.build.os === "linux"
  ? { DENO_WEBGPU_BACKEND: "vulkan", XDG_RUNTIME_DIR: "/tmp" }
  : {};

/**
 * What wgpu's OpenGL backend gives whatever the driver. NVIDIA's Vulkan gives the same number of
 * bindings, with buffers of 4 GiB; Mesa's gives the same buffers, with some 1,000 bindings.
 */
const OPENGL_LIMITS = { maxBindingsPerBindGroup: 2 ** 32 - 1, maxBufferSize: 2 ** 31 - 1 };

/**
 * True for an adapter of OpenGL that was not asked for. Where Vulkan fails, Deno takes OpenGL without
 * saying so, and it is a hundred times slower.
 */
export function isUnwantedOpenGl({ limits }: Pick<GPUAdapter, "limits">): boolean {
  const { maxBindingsPerBindGroup, maxBufferSize } = OPENGL_LIMITS;
  if (limits.maxBindingsPerBindGroup !== maxBindingsPerBindGroup) return false;
  if (limits.maxBufferSize !== maxBufferSize) return false;
  const name = "DENO_WEBGPU_BACKEND";
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state !== "granted" || !Deno.env.get(name)?.split(",").includes("gl");
}
