/**
 * The part of a weight that a range of its elements needs, so that a thread is sent the expressions of
 * a few experts rather than of all.
 *
 * @module
 */

import { concat, elementCount, invariant, stack, type Weight } from "../../graph/mod.ts";
import { isAlongMemory } from "./largest_numbers.ts";

/** A weight that has some elements of another one, in the same order. */
export interface WeightPortion {
  readonly weight: Weight;
  /** Element of the other one at which it begins. */
  readonly start: number;
}

/**
 * The smallest weight with elements `first .. first + count` of a weight; its shape may be another.
 *
 * @example
 * ```ts
 * import { elementCount, stack, tensor } from "../../graph/mod.ts";
 * import { weightPortion } from "./weight_portion.ts";
 * const experts = stack(["a", "b", "c"].map((name) => tensor(name, "bf16", [4, 8])));
 * const { weight, start } = weightPortion(experts, 40, 10);
 * console.assert(weight.kind === "tensor" && weight.name === "b" && start === 32);
 * ```
 */
export function weightPortion(weight: Weight, first: number, count: number): WeightPortion {
  switch (weight.kind) {
    case "reshape":
      return weightPortion(weight.of, first, count);
    case "stack":
      return portionOfParts(weight.parts, first, count, stack);
    case "concat": {
      if (!isAlongMemory(weight)) return { weight, start: 0 };
      return portionOfParts(weight.parts, first, count, (some) => concat(some, weight.dim));
    }
    default:
      return { weight, start: 0 };
  }
}

function portionOfParts(
  parts: readonly Weight[],
  first: number,
  count: number,
  join: (parts: readonly Weight[]) => Weight,
): WeightPortion {
  const needed: Weight[] = [];
  let start = 0;
  let at = 0;
  for (const part of parts) {
    const end = at + elementCount(part.shape);
    if (end > first && at < first + count) {
      if (needed.length === 0) start = at;
      needed.push(part);
    }
    at = end;
  }
  invariant(needed.length > 0, `no part has elements ${first} to ${first + count}`);
  if (needed.length > 1) return { weight: join(needed), start };
  const inner = weightPortion(needed[0], Math.max(0, first - start), count);
  return { weight: inner.weight, start: start + inner.start };
}
