/**
 * What an expert computes between its two products, as fragments.
 *
 * @module
 */

import { type Access, constants, fragments, joinAccess } from "../../access/access.ts";
import { f32Bound, f32Literal } from "../../compose.ts";
import { activationAccess } from "../../linear/activation.ts";
import type { MoeSpec } from "../spec.ts";
import gated from "./expert_gated.wgsl" with { type: "text" };
import plain from "./expert_plain.wgsl" with { type: "text" };
import swigluOai from "./expert_swiglu_oai.wgsl" with { type: "text" };

/** `expert_activation(first, second)`: up and gate of a gated expert, w1 alone of a plain one. */
export function expertActivation(spec: MoeSpec): Access {
  if (spec.activation === "swiglu_oai") {
    const limits = {
      ALPHA: f32Literal(spec.alpha, "an alpha of experts"),
      LIMIT: f32Bound(spec.limit),
    };
    return joinAccess(fragments(swigluOai), constants(limits));
  }
  const mlp = spec.mlp === "gated" ? gated : plain;
  return joinAccess(activationAccess(spec.activation), fragments(mlp));
}

/** Why the activation does not fit the kind of expert, or undefined when it does. */
export function refuseActivation(spec: MoeSpec): string | undefined {
  return spec.activation === "swiglu_oai" && spec.mlp === "plain"
    ? "cannot run swiglu_oai without a gate"
    : undefined;
}
