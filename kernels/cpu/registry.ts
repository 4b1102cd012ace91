/**
 * The CPU kernels by op.
 *
 * @module
 */

import type { HostTensor, OpName } from "../../graph/mod.ts";
import { ATTENTION_KERNELS } from "./attention.ts";
import { LINEAR_KERNELS } from "./linear.ts";
import { ELEMENTWISE_KERNELS } from "./elementwise.ts";
import type { CpuCall, CpuKernel, CpuKernels } from "./kernel.ts";
import { LAYOUT_KERNELS } from "./layout.ts";
import { MOE_KERNELS } from "./moe.ts";

/** A kernel for every op of the op table, eager and fused; a missing one does not compile. */
export const CPU_KERNELS: CpuKernels = {
  ...ELEMENTWISE_KERNELS,
  ...LAYOUT_KERNELS,
  ...LINEAR_KERNELS,
  ...ATTENTION_KERNELS,
  ...MOE_KERNELS,
};

/** Runs one op on host tensors. */
export function runCpuKernel<Op extends OpName>(op: Op, call: CpuCall<Op>): readonly HostTensor[] {
  const kernel: CpuKernel<Op> = CPU_KERNELS[op];
  return kernel(call);
}
