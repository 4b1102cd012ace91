/**
 * The activations of one number as WGSL: `fn activation(x: f32) -> f32`, one list for dense MLPs,
 * experts and the ops of their names.
 *
 * @module
 */

import type { Activation } from "../../graph/mod.ts";
import { type Access, fragments } from "../access/access.ts";
import gelu from "./activation_gelu.wgsl" with { type: "text" };
import gelu10 from "./activation_gelu_10.wgsl" with { type: "text" };
import geluTanh from "./activation_gelu_tanh.wgsl" with { type: "text" };
import laplace from "./activation_laplace.wgsl" with { type: "text" };
import leakyRelu from "./activation_leaky_relu.wgsl" with { type: "text" };
import linear from "./activation_linear.wgsl" with { type: "text" };
import mish from "./activation_mish.wgsl" with { type: "text" };
import quickGelu from "./activation_quick_gelu.wgsl" with { type: "text" };
import relu from "./activation_relu.wgsl" with { type: "text" };
import relu2 from "./activation_relu2.wgsl" with { type: "text" };
import relu6 from "./activation_relu6.wgsl" with { type: "text" };
import sigmoid from "./activation_sigmoid.wgsl" with { type: "text" };
import silu from "./activation_silu.wgsl" with { type: "text" };
import tanh from "./activation_tanh.wgsl" with { type: "text" };
import erfc from "./erfc.wgsl" with { type: "text" };

/** Texts by the names that ops use. */
export const ACTIVATIONS: Readonly<Record<Activation, readonly string[]>> = {
  gelu: [erfc, gelu],
  gelu_10: [erfc, gelu10],
  gelu_tanh: [geluTanh],
  laplace: [erfc, laplace],
  leaky_relu: [leakyRelu],
  linear: [linear],
  mish: [mish],
  quick_gelu: [quickGelu],
  relu: [relu],
  relu2: [relu2],
  relu6: [relu6],
  sigmoid: [sigmoid],
  silu: [silu],
  tanh: [tanh],
};

/** `activation(x)`. */
export function activationAccess(name: Activation): Access {
  return fragments(...ACTIVATIONS[name]);
}
