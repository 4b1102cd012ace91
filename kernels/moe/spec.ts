/**
 * A `fused_moe` node as backends see it: its numbers, and the values it reads and writes.
 *
 * @module
 */

import {
  type ActivationQuant,
  input,
  type MoeActivation,
  type MoeOperands,
  type Node,
  optionalInput,
  type Value,
  type WeightFormat,
} from "../../graph/mod.ts";
import type { DeviceProfile, LoweringContext, TunedFiles } from "../kernel.ts";

/** Everything a backend may base a decision on. */
export interface MoeSpec {
  /** Module path of the node, for messages. */
  readonly scope: string;
  /** Steps of `min..max` tokens run what is compiled from this spec. */
  readonly tokens: { readonly min: number; readonly max: number };
  readonly hidden: number;
  readonly intermediate: number;
  readonly experts: number;
  readonly topK: number;
  readonly mlp: "gated" | "plain";
  readonly activation: MoeActivation;
  /** `swiglu_oai` only. */
  readonly alpha: number;
  readonly limit: number;
  readonly applyRoutingOnInput: boolean;
  readonly format: WeightFormat;
  readonly block?: readonly [number, number];
  readonly activationQuant: ActivationQuant;
  readonly operands: MoeOperands;
  readonly biasUp: boolean;
  readonly biasDown: boolean;
  readonly residual: boolean;
  /** The device, once it is known; transforms may ask `supports` before. */
  readonly profile?: DeviceProfile;
  /** Measured configurations, where there are any. */
  readonly tuned?: TunedFiles;
}

/** A spec for a device that is known: what can be compiled. */
export type DeviceMoeSpec = MoeSpec & { readonly profile: DeviceProfile };

/** The values of a `fused_moe` node; shapes as in the op table. */
export interface MoeValues {
  readonly x: Value;
  readonly selectedExperts: Value;
  readonly routingWeights: Value;
  readonly wUp: Value;
  readonly wDown: Value;
  readonly bUp?: Value;
  readonly bDown?: Value;
  readonly residual?: Value;
  readonly wUpScales: readonly Value[];
  readonly wDownScales: readonly Value[];
  /** Scales of the activations in front of the two GEMMs, for `activationQuant: "static"`. */
  readonly xScale?: Value;
  readonly actScale?: Value;
  readonly output: Value;
}

/** The spec of a node for steps of some sizes on a device; without a context, of the node alone. */
export function moeSpecOf(
  node: Node<"fused_moe">,
  context?: Pick<LoweringContext, "profile" | "tokens" | "tuned">,
): MoeSpec {
  const { attrs } = node;
  return {
    scope: node.scope,
    tokens: context?.tokens ?? { min: 1, max: 1 },
    hidden: attrs.hidden,
    intermediate: attrs.intermediate,
    experts: attrs.experts,
    topK: attrs.topK,
    mlp: attrs.mlp,
    activation: attrs.activation,
    alpha: attrs.alpha ?? 1.702,
    limit: attrs.limit ?? 7,
    applyRoutingOnInput: attrs.applyRoutingOnInput,
    format: attrs.format,
    ...(attrs.block && { block: attrs.block }),
    activationQuant: attrs.activationQuant,
    operands: attrs.operands ?? "f32",
    biasUp: optionalInput(node, "b_up") !== undefined,
    biasDown: optionalInput(node, "b_down") !== undefined,
    residual: optionalInput(node, "residual") !== undefined,
    ...(context && { profile: context.profile }),
    ...(context?.tuned && { tuned: context.tuned }),
  };
}

/** The values of a node by their meaning. */
export function moeValuesOf(node: Node<"fused_moe">): MoeValues {
  const scales = (name: string) =>
    [optionalInput(node, `${name}_scale`), optionalInput(node, `${name}_scale_2`)]
      .filter((value) => value !== undefined);
  const [bUp, bDown, residual, xScale, actScale] = [
    "b_up",
    "b_down",
    "residual",
    "x_scale",
    "act_scale",
  ].map((name) => optionalInput(node, name));
  return {
    x: input(node, "x"),
    selectedExperts: input(node, "selected_experts"),
    routingWeights: input(node, "routing_weights"),
    wUp: input(node, "w_up"),
    wDown: input(node, "w_down"),
    wUpScales: scales("w_up"),
    wDownScales: scales("w_down"),
    ...(bUp && { bUp }),
    ...(bDown && { bDown }),
    ...(residual && { residual }),
    ...(xScale && { xScale }),
    ...(actScale && { actScale }),
    output: node.outputs[0],
  };
}

/** Rows of `w_up` for one expert: up and gate, or one of them. */
export function upRows(spec: MoeSpec): number {
  return spec.intermediate * matricesOf(spec);
}

/** Projections in front of the activation: up and gate, or one. */
export function matricesOf(spec: MoeSpec): 1 | 2 {
  return spec.mlp === "gated" ? 2 : 1;
}
