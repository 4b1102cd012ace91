/**
 * Sizes that depend on the step: products of numbers and of the symbols T, R, S and P, known to the
 * host when it counts workgroups and to shaders through the step's uniform.
 *
 * @module
 */

import { invariant, type Node, nodeInputs, type Shape } from "../../graph/mod.ts";
import type { LoweringContext, StepSizes } from "../kernel.ts";
import { type Access, binds, fragments, joinAccess } from "./access.ts";

/** Place of each symbol in the step's uniform. */
const SYMBOLS = { T: "step.x", R: "step.y", S: "step.z", P: "step.w" } as const;

type StepSymbol = keyof typeof SYMBOLS;

/** A product of numbers and symbols. */
export interface Extent {
  /** WGSL expression of type u32; reads the buffer `step` when it has a symbol. */
  readonly wgsl: string;
  /** Whether it is the same in every step. */
  readonly fixed: boolean;
  /** Whether it grows with T, by which lists of dispatches are chosen already. */
  readonly ofTokens: boolean;
  /** What the expression reads, where it is not the step; the host knows no more than a bound then. */
  readonly access?: Access;
  of(sizes: StepSizes): number;
}

/** The sizes of the step as `step`: x, y, z, w are T, R, S, P. */
export const STEP: Access = binds({
  name: "step",
  type: "vec4<u32>",
  access: "uniform",
  buffer: { kind: "step" },
});

/**
 * The product of dimensions.
 *
 * @example
 * ```ts
 * import { extentOf } from "./extent.ts";
 * const rows = extentOf([2, "T"]);
 * console.assert(rows.wgsl === "(2u * step.x)");
 * console.assert(rows.of({ T: 5, R: 1, S: 1, P: 1 }) === 10);
 * ```
 */
export function extentOf(dims: Shape): Extent {
  let factor = 1;
  const symbols: StepSymbol[] = [];
  for (const dim of dims) {
    if (typeof dim === "number") factor *= dim;
    else if (isStepSymbol(dim)) symbols.push(dim);
    else invariant(false, `symbol "${dim}" depends on data`);
  }
  const factors = symbols.map((symbol) => SYMBOLS[symbol] as string);
  if (factor !== 1 || factors.length === 0) factors.unshift(`${factor}u`);
  return {
    wgsl: factors.length === 1 ? factors[0] : `(${factors.join(" * ")})`,
    fixed: symbols.length === 0,
    ofTokens: symbols.includes("T"),
    of: (sizes) => symbols.reduce((product, symbol) => product * sizes[symbol], factor),
  };
}

/** A function without parameters for a size: the number itself, or one that reads the step. */
export function extentFunction(name: string, extent: Extent): Access {
  const text = fragments(`fn ${name}() -> u32 {\n  return ${extent.wgsl};\n}`);
  if (extent.access) return joinAccess(extent.access, text);
  return extent.fixed ? text : joinAccess(STEP, text);
}

/** Elements of the largest step that a lowering serves, for dims of numbers, T and R. */
export function largestExtent(dims: Shape, context: LoweringContext): number {
  const { tokens, maxRows } = context;
  return extentOf(dims).of({ T: tokens.max, R: maxRows, S: NaN, P: NaN });
}

/** Why a node's sizes cannot be known before a step, or undefined when they can. */
export function dataDependent(node: Node): string | undefined {
  for (const { name, shape } of [...node.outputs, ...nodeInputs(node)]) {
    const symbol = shape.find((dim) => typeof dim === "string" && !isStepSymbol(dim));
    if (symbol !== undefined) return `the size ${symbol} of "${name}" depends on data`;
  }
  return undefined;
}

function isStepSymbol(dim: string | number): dim is StepSymbol {
  return Object.hasOwn(SYMBOLS, dim);
}
