/**
 * The one list of WebGPU kernels. A new kernel is a definition and a line here.
 *
 * @module
 */

import { cachedAttention } from "./attention/cached_attention.ts";
import { generalAttention } from "./attention/general/general.ts";
import { mlaAttention } from "./attention/mla/mla.ts";
import { EAGER_ATTENTION_KERNELS } from "./eager/attention.ts";
import { ELEMENTWISE_KERNELS } from "./eager/elementwise.ts";
import { LAYOUT_KERNELS } from "./eager/layout.ts";
import { REDUCTION_KERNELS } from "./eager/reduction.ts";
import type { KernelDefinition } from "./kernel.ts";
import { l2Norm, layerNorm } from "./linear/centred_norm.ts";
import { gatedMlp } from "./linear/gated_mlp.ts";
import { fusedLinear, linear } from "./linear/linear.ts";
import { addRmsNorm, rmsNorm } from "./linear/norm.ts";
import { postNorm } from "./linear/post_norm.ts";
import { fusedMoeKernel } from "./moe/kernel.ts";
import { moeRouter } from "./moe/router.ts";

/** Every kernel; for a node the first one of its op that does not refuse it is taken. */
export const KERNELS: readonly KernelDefinition[] = [
  linear,
  fusedLinear,
  rmsNorm,
  addRmsNorm,
  postNorm,
  layerNorm,
  l2Norm,
  cachedAttention,
  generalAttention,
  mlaAttention,
  moeRouter,
  gatedMlp,
  ...EAGER_ATTENTION_KERNELS,
  ...ELEMENTWISE_KERNELS,
  ...LAYOUT_KERNELS,
  ...REDUCTION_KERNELS,
  fusedMoeKernel,
];
