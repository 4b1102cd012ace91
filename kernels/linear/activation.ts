/**
 * Activations as shaders compute them, each as `activation(x: f32) -> f32`.
 *
 * @module
 */

import { type Access, fragments } from "../access/access.ts";
import gelu from "./activation_gelu.wgsl" with { type: "text" };
import geluTanh from "./activation_gelu_tanh.wgsl" with { type: "text" };
import relu2 from "./activation_relu2.wgsl" with { type: "text" };
import silu from "./activation_silu.wgsl" with { type: "text" };

/** Texts by the names that ops use. */
export const ACTIVATIONS = { silu, gelu, gelu_tanh: geluTanh, relu2 } as const;

/** `activation(x)`. */
export function activationAccess(name: keyof typeof ACTIVATIONS): Access {
  return fragments(ACTIVATIONS[name]);
}
