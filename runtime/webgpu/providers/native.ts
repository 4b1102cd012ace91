/**
 * Deno's own WebGPU (wgpu).
 *
 * @module
 */

import { isUnwantedOpenGl } from "../device/gpu_environment.ts";
import type { WebGpuProvider } from "./provider.ts";

/** The provider `native`. */
export const nativeProvider: WebGpuProvider = {
  name: "native",
  open: () => Promise.resolve(navigator.gpu),
  describe: ({ description, vendor, device }) => description || `${vendor} ${device}`.trim(),
  refuse(adapter) {
    if (!isUnwantedOpenGl(adapter)) return undefined;
    return {
      expected: "a WebGPU adapter of Vulkan",
      got: `"${adapter.info.description}" of OpenGL, which is far slower`,
    };
  },
  // Deno grants "subgroups" although no adapter lists it.
  features: () => [["subgroups"], []],
  matrices: () => [],
  // naga, its compiler, knows subgroup operations without a directive and refuses the directive.
  shader: (wgsl) => wgsl,
};
