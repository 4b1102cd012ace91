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
import type { DeviceProfile, ExpertChoice, LoweringContext, TunedFiles } from "../kernel.ts";

/** Everything a backend may base a decision on. */
export interface MoeSpec {
  /** Module path of the node, for messages. */
  readonly scope: string;
  /** Steps of `min..max` tokens run what is compiled from this spec. */
  readonly tokens: { readonly min: number; readonly max: number };
  /** H, elements of a token. */
  readonly hidden: number;
  /** I, elements between an expert's two products. */
  readonly intermediate: number;
  /** E */
  readonly experts: number;
  /** K, slots of a token. */
  readonly topK: number;
  /** `gated`: w2 · (act(w1 · x) ⊙ (w3 · x)); `plain`: w2 · act(w1 · x). */
  readonly mlp: "gated" | "plain";
  /** Of the gate, or of the one projection of plain experts. */
  readonly activation: MoeActivation;
  /** `swiglu_oai` only. */
  readonly alpha: number;
  /** `swiglu_oai` only: gates are clamped to at most this, ups to ± this. */
  readonly limit: number;
  /** The routing weight multiplies the expert's input instead of its output. */
  readonly applyRoutingOnInput: boolean;
  /** How w_up and w_down are stored. */
  readonly format: WeightFormat;
  /** Elements `[rows, columns]` that share a scale, for block formats. */
  readonly block?: readonly [number, number];
  /** How x and the experts' activations are rounded before the products. */
  readonly activationQuant: ActivationQuant;
  /** Type of operands in workgroup memory; sums are f32 with each. */
  readonly operands: MoeOperands;
  /** Whether b_up is there. */
  readonly biasUp: boolean;
  /** Whether b_down is there. */
  readonly biasDown: boolean;
  /** Whether the result is added to a residual [T, H]. */
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
  /** f32 [T, H] */
  readonly x: Value;
  /** i32 [T, K]; an id outside [0, E) contributes nothing. */
  readonly selectedExperts: Value;
  /** f32 [T, K] */
  readonly routingWeights: Value;
  /**
   * [E, 2I, H], rows 0..I-1 of w3 and I..2I-1 of w1; plain experts [E, I, H]. Packed formats have
   * fewer bytes a row.
   */
  readonly wUp: Value;
  /** [E, H, I] */
  readonly wDown: Value;
  /** f32 [E, 2I] or [E, I], rows as in w_up. */
  readonly bUp?: Value;
  /** f32 [E, H] */
  readonly bDown?: Value;
  /** f32 [T, H], added to the result. */
  readonly residual?: Value;
  /** Of w_up, in the format's own order; none for plain formats. */
  readonly wUpScales: readonly Value[];
  /** Of w_down, in the same order. */
  readonly wDownScales: readonly Value[];
  /** Scales of the activations in front of the two GEMMs, for `activationQuant: "static"`. */
  readonly xScale?: Value;
  /** Of the activations in front of w_down; see `xScale`. */
  readonly actScale?: Value;
  /** f32 [T, H] */
  readonly output: Value;
  /**
   * What a backend that chooses experts chooses from: `selectedExperts` and `routingWeights` are
   * written by its dispatches then.
   */
  readonly choice?: ExpertChoice;
}

/** The spec of a node for steps of some sizes on a device; without a context, of the node alone. */
export function moeSpecOf(
  node: Node<"fused_moe">,
  context?: Pick<LoweringContext, "profile" | "tokens" | "tuned" | "keepsF32">,
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
    operands: context?.keepsF32 ? "f32" : attrs.operands ?? "f32",
    biasUp: optionalInput(node, "b_up") !== undefined,
    biasDown: optionalInput(node, "b_down") !== undefined,
    residual: optionalInput(node, "residual") !== undefined,
    ...(context && { profile: context.profile }),
    ...(context?.tuned && { tuned: context.tuned }),
  };
}

/** The values of a node by their meaning. */
export function moeValuesOf(node: Node<"fused_moe">, choice?: ExpertChoice): MoeValues {
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
    ...(choice && { choice }),
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
