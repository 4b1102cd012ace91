/**
 * Rounding of activations in front of a layer's two products. With static scales the kernels round
 * what they load, for an expert may have a scale of its own; dynamic ones take a dispatch more.
 *
 * @module
 */

import type { Access } from "../../access/access.ts";
import { type Extent, extentOf } from "../../access/extent.ts";
import type { Dispatch, Rows, Scratch } from "../../kernel.ts";
import { chunkRounding, requiredScale, roundDispatch } from "../../linear/round_rows.ts";
import type { DeviceMoeSpec, MoeSpec } from "../spec.ts";
import type { ExpertWeight } from "./weights.ts";

/** Why a layer's activations cannot be rounded as it says, or undefined when they can. */
export function refuseRounding(spec: MoeSpec): string | undefined {
  const { activationQuant, format, applyRoutingOnInput } = spec;
  if (activationQuant === "none") return undefined;
  if (format !== "fp8_e4m3" && format !== "fp8_block") {
    return `cannot round activations (${activationQuant}) in front of ${format} weights, only of FP8 ones`;
  }
  return applyRoutingOnInput
    ? `cannot round activations (${activationQuant}) that a routing weight multiplies`
    : undefined;
}

/** The input of a layer rounded, where that takes a dispatch of its own. */
export function roundInput(spec: DeviceMoeSpec, x: Rows): Rounded {
  return roundScratch(spec, {
    name: "moe_x_rounded",
    rows: x,
    extent: extentOf(["T"]),
    largest: spec.tokens.max,
    columns: spec.hidden,
  });
}

/** Rounded rows, and the dispatches that round; neither where nothing is rounded so. */
export interface Rounded {
  readonly rounded?: Scratch;
  readonly dispatches: readonly Dispatch[];
}

/** Rows in front of a product. */
interface RoundedRows {
  /** Name of the scratch that rounded rows go to. */
  readonly name: string;
  readonly rows: Rows;
  readonly extent: Extent;
  /** Rows of the largest step. */
  readonly largest: number;
  readonly columns: number;
}

/** Scratch for rows rounded with scales of their own, where the layer does so. */
export function roundScratch(
  { activationQuant, block, profile }: DeviceMoeSpec,
  { name, rows: x, extent, largest, columns }: RoundedRows,
): Rounded {
  if (activationQuant !== "dynamic") return { dispatches: [] };
  const y: Scratch = { kind: "scratch", name, bytes: largest * columns * 4 };
  const rounding = { kind: "dynamic", columns: block?.[1] || columns } as const;
  return {
    rounded: y,
    dispatches: [roundDispatch({ x, y, rows: extent, columns, rounding }, profile)],
  };
}

/** `name_round(chunk, expert)` for one of the two products. */
export function expertRounding(
  name: string,
  { activationQuant, scope }: DeviceMoeSpec,
  { which, inputScale }: ExpertWeight,
): Access {
  const input = which === "up" ? "x_scale" : "act_scale";
  return chunkRounding(
    name,
    activationQuant === "static" ? requiredScale(inputScale, input, scope) : undefined,
  );
}
