/**
 * The kernels of every op but the mixture of experts.
 *
 * @module
 */

import type { KernelDefinition } from "../kernel.ts";
import { cachedAttention } from "./cached_attention.ts";
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
];
