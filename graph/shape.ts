/**
 * Shapes: lists of dimensions, each a number or a symbol. `T` stands for the tokens of one step,
 * `R` for the rows whose logits are wanted, `S` for the sequences of a step, `P` for the pages of
 * a sequence; other symbols depend on data, such as the tokens that one expert gets.
 *
 * @module
 */

/** One dimension: a size, or a symbol whose size is known when a step runs. */
export type Dim = number | string;

/** Dimensions from the outermost to the innermost; row-major. */
export type Shape = readonly Dim[];

/** Sizes of the symbols of one step. */
export type Bindings = Readonly<Record<string, number>>;

/** Text form: `[T, 2048]`. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(", ")}]`;
}

/** True when both have the same dimensions, symbols compared by name. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

/** Replaces symbols by their sizes; a symbol without a size is an error of the caller. */
export function bindShape(shape: Shape, bindings: Bindings): number[] {
  return shape.map((dim) => {
    if (typeof dim === "number") return dim;
    const size = bindings[dim];
    if (size === undefined) throw new RangeError(`No size for symbol "${dim}"`);
    return size;
  });
}

/** Number of elements of a shape without symbols. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}

/**
 * Shape of an elementwise operation on both, by numpy's rule, or undefined when they do not fit.
 *
 * @example
 * ```ts
 * import { broadcastShapes } from "./shape.ts";
 * console.assert(String(broadcastShapes(["T", 1], [1, 64])) === "T,64");
 * console.assert(broadcastShapes(["T", 3], [64]) === undefined);
 * ```
 */
export function broadcastShapes(a: Shape, b: Shape): Shape | undefined {
  const rank = Math.max(a.length, b.length);
  const result: Dim[] = [];
  for (let i = 0; i < rank; i++) {
    const left = a[a.length - rank + i] ?? 1;
    const right = b[b.length - rank + i] ?? 1;
    if (left === right || right === 1) result.push(left);
    else if (left === 1) result.push(right);
    else return undefined;
  }
  return result;
}

/** True when `to` has as many elements as `from`, whatever the symbols stand for. */
export function sameElementCount(from: Shape, to: Shape): boolean {
  const split = (shape: Shape) => ({
    size: elementCount(shape.filter((dim) => typeof dim === "number")),
    symbols: shape.filter((dim) => typeof dim === "string").sort().join(" "),
  });
  const [a, b] = [split(from), split(to)];
  return a.size === b.size && a.symbols === b.symbols;
}

/** Dimension index counted from the front; negative ones count from the back. */
export function normalizeDim(dim: number, rank: number): number {
  return dim < 0 ? dim + rank : dim;
}
