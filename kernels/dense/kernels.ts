/**
 * The kernels of every op but the mixture of experts.
 *
 * @module
 */

import type { KernelDefinition } from "../kernel.ts";
import { cachedAttention } from "./cached_attention.ts";
import { EAGER_ATTENTION_KERNELS } from "./eager_attention.ts";
import { gatedMlp } from "./gated_mlp.ts";
import { ELEMENTWISE_KERNELS } from "./elementwise.ts";
import { LAYOUT_KERNELS } from "./layout.ts";
import { REDUCTION_KERNELS } from "./reduction.ts";
import { fusedLinear, linear } from "./linear.ts";
import { moeRouter } from "./router.ts";
import { addRmsNorm, rmsNorm } from "./norm.ts";

/** Kernels in order of preference. */
export const DENSE_KERNELS: readonly KernelDefinition[] = [
  linear,
  fusedLinear,
  rmsNorm,
  addRmsNorm,
  cachedAttention,
  moeRouter,
  gatedMlp,
  ...EAGER_ATTENTION_KERNELS,
  ...ELEMENTWISE_KERNELS,
  ...LAYOUT_KERNELS,
  ...REDUCTION_KERNELS,
];
