/**
 * A layer while it is lowered: what all algorithms build once and pass around.
 *
 * @module
 */

import { type Access, reads } from "../../access/access.ts";
import { operandAccess } from "../../access/operand.ts";
import type { Dispatch, Rows, Scratch } from "../../kernel.ts";
import type { DeviceMoeSpec, MoeValues } from "../spec.ts";
import { roundInput } from "./rounding.ts";
import { type ExpertWeight, expertWeights } from "./weights.ts";

/** One layer on one device, for one range of tokens. */
export interface Layer {
  readonly spec: DeviceMoeSpec;
  readonly values: MoeValues;
  /** What the first product reads: the node's x, or x rounded by a dispatch of its own. */
  readonly x: Rows;
  readonly up: ExpertWeight;
  readonly down: ExpertWeight;
}

/** The layer of a spec and its values, and the dispatches that come in front of its own. */
export function layerOf(
  spec: DeviceMoeSpec,
  values: MoeValues,
): { readonly layer: Layer; readonly dispatches: readonly Dispatch[] } {
  const { rounded, dispatches } = roundInput(spec, values.x);
  const layer = { spec, values, x: rounded ?? values.x, ...expertWeights(spec, values) };
  return { layer, dispatches };
}

/** Routing weights where the first product has them, as `input_factor_at(pair)`. */
export function inputFactor({ spec, values }: Layer): Access {
  const factors = spec.applyRoutingOnInput ? values.routingWeights : undefined;
  return operandAccess("input_factor", factors, "numbers", 1);
}

/** Routing weights where the second product has them, as `output_factor_at(pair)`. */
export function outputFactor({ spec, values }: Layer): Access {
  const factors = spec.applyRoutingOnInput ? undefined : values.routingWeights;
  return operandAccess("output_factor", factors, "numbers", 1);
}

/** No routing weights, under the name of one of the two. */
export function noFactor(name: "input_factor" | "output_factor"): Access {
  return operandAccess(name, undefined, "numbers", 1);
}

/** The experts that the router chose, as `selected`. */
export function selectedExperts({ values }: Layer): Access {
  return reads("selected", "i32", values.selectedExperts);
}

/** Scratch for f32 numbers between the dispatches of a layer. */
export function layerScratch(name: string, elements: number): Scratch {
  return { kind: "scratch", name, bytes: elements * 4 };
}
