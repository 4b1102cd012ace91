/**
 * What an expert computes between its two products, as fragments.
 *
 * @module
 */

import { f32Literal } from "../../compose.ts";
import type { Access } from "../../access/access.ts";
import gelu from "../../linear/activation_gelu.wgsl" with { type: "text" };
import geluTanh from "../../linear/activation_gelu_tanh.wgsl" with { type: "text" };
import relu2 from "../../linear/activation_relu2.wgsl" with { type: "text" };
import silu from "../../linear/activation_silu.wgsl" with { type: "text" };
import gated from "./expert_gated.wgsl" with { type: "text" };
import plain from "./expert_plain.wgsl" with { type: "text" };
import swigluOai from "./expert_swiglu_oai.wgsl" with { type: "text" };
import type { MoeSpec } from "../spec.ts";

const ACTIVATIONS = { silu, gelu, gelu_tanh: geluTanh, relu2 };

/** `expert_activation(first, second)`: up and gate of a gated expert, w1 alone of a plain one. */
export function expertActivation(spec: MoeSpec): Access {
  if (spec.activation === "swiglu_oai") {
    return {
      buffers: [],
      fragments: [swigluOai],
      constants: { ALPHA: f32Literal(spec.alpha), LIMIT: f32Literal(spec.limit) },
    };
  }
  const mlp = spec.mlp === "gated" ? gated : plain;
  return { buffers: [], fragments: [ACTIVATIONS[spec.activation], mlp], constants: {} };
}

/** Why the activation does not fit the kind of expert, or undefined when it does. */
export function refuseActivation(spec: MoeSpec): string | undefined {
  return spec.activation === "swiglu_oai" && spec.mlp === "plain"
    ? "cannot run swiglu_oai without a gate"
    : undefined;
}
