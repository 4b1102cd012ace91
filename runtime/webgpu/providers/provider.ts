/**
 * Who implements WebGPU: what differs between implementations, and nothing else. One file a
 * provider, and one line in `mod.ts`.
 *
 * @module
 */

import type { MatrixShape } from "../../../kernels/mod.ts";

/** How results come back. */
export type ReadMode = "synchronous" | "awaited";

/** An implementation of WebGPU. */
export interface WebGpuProvider {
  /** Its value of the setting `webgpu`. */
  readonly name: string;
  /** For people, as a note on the device; undefined for Deno's own, which needs no word. */
  readonly label?: string;
  /**
   * The entry point of the API, undefined where there is none. Raises a `DeviceError` with a code
   * that begins with `device/provider` when the provider cannot be loaded.
   */
  open(): Promise<GPU | undefined>;
  /** Name of the adapter's GPU. */
  describe(info: GPUAdapterInfo): string;
  /** What is wrong with an adapter, or undefined: `expected` and `got` of an error. */
  refuse(adapter: GPUAdapter): { readonly expected: string; readonly got: string } | undefined;
  /** Subgroups and what needs them; a list of features that is refused gives way to the next. */
  features(adapter: GPUAdapter): readonly (readonly GPUFeatureName[])[];
  /** Matrices f16 × f16 -> f32 that a subgroup multiplies at once. */
  matrices(adapter: GPUAdapter): readonly MatrixShape[];
  /** One sentence on what another provider would bring on a GPU, for whoever deploys. */
  hint?(description: string): string | undefined;
  /** A composed shader as the provider's compiler wants it. */
  shader(wgsl: string): string;
  /** Whether commands are translated for the driver when they are submitted, not when they are recorded. */
  readonly translatesOnSubmit?: boolean;
  /** Whether pipelines can be compiled on threads of the provider, several at a time. */
  readonly compilesAside?: boolean;
  /** Whether uploads go through mapped buffers of ours, as the provider allocates memory for each write. */
  readonly allocatesForWrites?: boolean;
  /** How results are read; absent where a self-test has to find out. */
  readonly readMode?: ReadMode;
}
