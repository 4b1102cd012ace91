/**
 * The one list of WebGPU kernels. A new kernel is a definition and a line here.
 *
 * @module
 */

import { DENSE_KERNELS } from "./dense/kernels.ts";
import type { KernelDefinition } from "./kernel.ts";
import { fusedMoeKernel } from "./moe/kernel.ts";

/** Every kernel; for a node the first one of its op that does not refuse it is taken. */
export const KERNELS: readonly KernelDefinition[] = [
  ...DENSE_KERNELS,
  fusedMoeKernel,
];
