/**
 * Rounding of activations in front of a layer's two products. With static scales the kernels round
 * what they load, for an expert may have a scale of its own; dynamic ones take a dispatch more.
 *
 * @module
 */

import type { Access } from "../../access/access.ts";
import type { Dispatch, Scratch } from "../../kernel.ts";
import { type Extent, extentOf } from "../../access/extent.ts";
import type { Rows } from "../../linear/problem.ts";
import { chunkRounding, requiredScale, roundDispatch } from "../../linear/round_rows.ts";
import type { DeviceMoeSpec, MoeSlots, MoeSpec } from "../spec.ts";

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

/** The layer with rounded input, where that takes a dispatch of its own. */
export function roundInput(
  spec: DeviceMoeSpec,
  slots: MoeSlots,
): { readonly slots: MoeSlots; readonly dispatches: readonly Dispatch[] } {
  const { hidden, tokens } = spec;
  const { rounded, dispatches } = roundScratch(spec, {
    name: "moe_x_rounded",
    rows: slots.x,
    extent: extentOf(["T"]),
    largest: tokens.max,
    columns: hidden,
  });
  return { slots: rounded ? { ...slots, roundedX: rounded } : slots, dispatches };
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
): { readonly rounded?: Scratch; readonly dispatches: readonly Dispatch[] } {
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
  spec: DeviceMoeSpec,
  slots: MoeSlots,
  which: "up" | "down",
): Access {
  const input = which === "up" ? "x_scale" : "act_scale";
  const scale = which === "up" ? slots.xScale : slots.actScale;
  return chunkRounding(
    name,
    spec.activationQuant === "static" ? requiredScale(scale, input, spec.scope) : undefined,
  );
}
