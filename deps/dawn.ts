/**
 * Dawn, the WebGPU of Chromium, as a native library (Node-API) for Linux, macOS and Windows. It is
 * named by a variable, because Deno downloads what it finds in an `import` even if that is never run.
 *
 * @module
 */

/** The package, with its version. */
export const DAWN_PACKAGE = "npm:webgpu@0.6.2";

/** The part of the package that is used. */
export interface Dawn {
  /** An instance with options such as `backend=vulkan`. */
  create(options: readonly string[]): GPU;
}

/** Downloads the package unless it is in Deno's cache, and loads its library. */
export function loadDawn(): Promise<Dawn> {
  return import(DAWN_PACKAGE);
}
