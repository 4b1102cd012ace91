/**
 * How unlike two choices of sizes are, by which a tuner orders what it tries.
 *
 * @module
 */

/**
 * Doublings of the numbers of two configurations, and other words; Infinity where one is of another kind.
 *
 * @example
 * ```ts
 * import { sizeDistance } from "./size_distance.ts";
 * console.assert(sizeDistance({ threads: 64, rows: 2 }, { threads: 256, rows: 1 }) === 3);
 * ```
 */
export function sizeDistance(a: object, b: object): number {
  let sum = 0;
  for (const [key, value] of Object.entries(a)) {
    const other: unknown = Reflect.get(b, key);
    if (typeof other !== typeof value) return Infinity;
    if (typeof value === "number") sum += Math.abs(Math.log2(value / Number(other)));
    else if (typeof value === "object") sum += sizeDistance(value, other as object);
    else if (value !== other) sum += key === "algorithm" ? 0.5 : 2;
  }
  return sum;
}
