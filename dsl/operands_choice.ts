/**
 * What the transforms of a deployment keep the operands of products in, and what said so.
 *
 * @module
 */

import {
  configSchema,
  settingBehind,
  type TransformContext,
  type TransformRecord,
} from "../transforms/mod.ts";
import { formatOrigin } from "./origin.ts";
import type { ResolvedPipeline } from "./resolve.ts";

/** The choice of one transform that found something to do. JSON-safe. */
export interface OperandsChoice {
  /** Its key. */
  readonly transform: string;
  /** Value of its field `operands`. */
  readonly operands: string;
  /** The layer that set the field, or the setting `operands` in its place. */
  readonly setBy: string;
  /** What steps of many tokens compute in here; layers that keep f32 all the same are in `choices`. */
  readonly computed: string;
}

/** The choices of all transforms that have the field and rewrote something, in their order. */
export function operandsChoices(
  { transforms, values }: ResolvedPipeline,
  history: readonly TransformRecord[],
  target: TransformContext["target"],
): OperandsChoice[] {
  const busy = new Set(
    history.filter((record) => !record.skipped && record.num_matches > 0).map(({ key }) => key),
  );
  return transforms.flatMap(({ key, definition }) => {
    const field = definition && configSchema(definition).shape.operands;
    if (!busy.has(key) || !field || settingBehind(field) !== "operands") return [];
    const found = values.find(({ path }) => path === `transforms.${key}.operands`);
    if (!found) return [];
    const operands = String(found.value);
    const computed = computedIn(key, operands, target);
    return [{ transform: key, operands, setBy: formatOrigin(found.origin), computed }];
  });
}

/** `auto for fuse_moe, compile_model (flag --set operands=auto): f16 by the device's matrices`. */
export function describeOperands(choices: readonly OperandsChoice[]): string {
  const alike = Map.groupBy(choices, (each) => [each.operands, each.setBy, each.computed].join());
  return [...alike.values()].map((group) => {
    const [{ operands, setBy, computed }] = group;
    const result = operands === computed ? "" : `: ${computed}`;
    return `${operands} for ${
      group.map(({ transform }) => transform).join(", ")
    } (${setBy})${result}`;
  }).join("; ");
}

function computedIn(
  key: string,
  operands: string,
  { executor, profile }: TransformContext["target"],
): string {
  if (operands === "f32") return "f32";
  if (executor === "cpu") return "f32, as always on the CPU";
  if ((profile?.matrices ?? []).length > 0) return "f16 by the device's matrices";
  // Experts take f16 without matrices where it is asked for by name; dense layers never do.
  const isForced = operands === "f16" && key !== "compile_model";
  return isForced ? "f16" : "f32, as the device has no matrices";
}
