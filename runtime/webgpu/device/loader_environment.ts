/**
 * Environment variables that the Vulkan loader and Deno's WebGPU read when the first adapter is
 * asked for. What the user has set stays; without the permission nothing happens.
 *
 * @module
 */

let prepared = false;

/** Call before `navigator.gpu.requestAdapter`. */
export function prepareLoaderEnvironment(): void {
  if (prepared || Deno.build.os !== "linux") return;
  prepared = true;
  // Where Vulkan fails, Deno would go on with OpenGL ES, a hundred times slower, without a word.
  setDefault("DENO_WEBGPU_BACKEND", "vulkan");
  // In containers nobody sets it, and a window-system library complains on stderr at every start.
  setDefault("XDG_RUNTIME_DIR", "/tmp");
}

function setDefault(variable: string, value: string): void {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  if (state === "granted" && Deno.env.get(variable) === undefined) Deno.env.set(variable, value);
}
