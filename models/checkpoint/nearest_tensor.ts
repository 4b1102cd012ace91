/**
 * Which tensor a wrong name may stand for.
 *
 * @module
 */

import { editDistance, nearest } from "../../graph/mod.ts";

/** Numbers of layers and experts in a name. */
const NUMBERS = /(?<=\.)\d+(?=\.)/g;

/**
 * The name that is most like one of several which are missing. Those of the same layer and expert come
 * first, and of these the ones that no other layer or expert has: others have a place of their own.
 *
 * @example
 * ```ts
 * import { nearestTensor } from "./nearest_tensor.ts";
 * const names = ["0.gate.weight", "0.up.weight", "1.gat.weight", "1.up.weight"];
 * const near = nearestTensor(["mlp.1.gate.weight"], names.map((name) => `mlp.${name}`));
 * console.assert(near === "mlp.1.gat.weight");
 * ```
 */
export function nearestTensor(
  missing: readonly string[],
  names: Iterable<string>,
): string | undefined {
  const all = [...names];
  const alike = missing.map((name) => {
    const numbers = numbersOf(name);
    const same = all.filter((each) => numbersOf(each) === numbers);
    const elsewhere = new Set(all.filter((each) => numbersOf(each) !== numbers).map(kindOf));
    return { name, same, odd: same.filter((each) => !elsewhere.has(kindOf(each))) };
  });
  return nearestOf(alike.map(({ name, odd }) => [name, odd])) ??
    nearestOf(alike.map(({ name, same }) => [name, same])) ?? nearest(missing[0], all);
}

/** The candidate that differs from its name in the fewest letters, a third of it at most. */
function nearestOf(
  all: readonly (readonly [name: string, candidates: readonly string[]])[],
): string | undefined {
  let best: string | undefined;
  let fewest = Infinity;
  for (const [name, candidates] of all) {
    for (const each of candidates) {
      const distance = editDistance(name, each);
      if (distance < fewest && distance <= name.length / 3) [best, fewest] = [each, distance];
    }
  }
  return best;
}

/** The name without numbers. */
function kindOf(name: string): string {
  return name.replace(NUMBERS, "#");
}

function numbersOf(name: string): string {
  return (name.match(NUMBERS) ?? []).join(".");
}
