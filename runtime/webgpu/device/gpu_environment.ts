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

/** What wgpu's OpenGL backend gives as `maxBindingsPerBindGroup`; Vulkan's gives about 1,000. */
const OPENGL_BINDINGS = 2 ** 32 - 1;

/**
 * True for an adapter of OpenGL that was not asked for. Where Vulkan fails, Deno takes OpenGL without
 * saying so, and it is a hundred times slower.
 */
export function isUnwantedOpenGl(adapter: GPUAdapter): boolean {
  if (adapter.limits.maxBindingsPerBindGroup !== OPENGL_BINDINGS) return false;
  const name = "DENO_WEBGPU_BACKEND";
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state !== "granted" || !Deno.env.get(name)?.split(",").includes("gl");
}
