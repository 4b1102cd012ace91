/**
 * Deno's own WebGPU (wgpu).
 *
 * @module
 */

import { isUnwantedOpenGl } from "../device/gpu_environment.ts";
import type { WebGpuProvider } from "./provider.ts";

/** GPUs that surely multiply matrices of f16 on Dawn: NVIDIA's from Volta on, by their names. */
const HAVE_MATRICES =
  /\bNVIDIA\b.*(\b(?:V100|T4|A2|A10|A16|A30|A40|A100|L4|L40S?|H100|H200|GH200|B100|B200|GB200)\b|\bRTX\b)/;

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
  hint: (description) =>
    HAVE_MATRICES.test(description)
      ? "this GPU has tensor cores, which Deno's WebGPU does not reach: --webgpu dawn with --set operands=auto reads long prompts faster (docs/providers.md)"
      : undefined,
  // naga, its compiler, knows subgroup operations without a directive and refuses the directive.
  shader: (wgsl) => wgsl,
};
