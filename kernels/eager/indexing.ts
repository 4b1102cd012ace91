/**
 * From the number of an element to its place in a tensor: WGSL functions for strided, broadcast and
 * permuted reads.
 *
 * @module
 */

import type { Dim, Shape } from "../../graph/mod.ts";
import { extentOf } from "../access/extent.ts";

/** How one coordinate of the domain moves the place in the tensor. */
export interface Axis {
  /** WGSL expression: elements that a step of the coordinate moves by; undefined for none. */
  readonly stride?: string;
  /** The coordinate is divided by this first. */
  readonly divide?: number;
}

/** Row-major strides as WGSL expressions. */
export function strides(shape: Shape): string[] {
  return shape.map((_, i) => extentOf(shape.slice(i + 1)).wgsl);
}

/**
 * `fn name(i: u32) -> u32`: the place of element `i` of a row-major domain, `offset + Σ coordinate ·
 * stride`.
 *
 * @example
 * ```ts
 * import { indexFunction } from "./indexing.ts";
 * const text = indexFunction("x_at", ["T", 8], [{ stride: "1u" }, {}]);
 * console.assert(text.includes("let c0"));
 * ```
 */
export function indexFunction(
  name: string,
  domain: Shape,
  axes: readonly Axis[],
  offset = "0u",
): string {
  const lines: string[] = ["var rest = i;"];
  for (let k = domain.length - 1; k >= 0; k--) {
    const size = extentOf([domain[k]]).wgsl;
    lines.push(k === 0 ? "let c0 = rest;" : `let c${k} = rest % ${size};`);
    if (k > 0) lines.push(`rest /= ${size};`);
  }
  const terms = axes.flatMap(({ stride, divide }, k) => {
    if (stride === undefined) return [];
    return [`${divide ? `(c${k} / ${divide}u)` : `c${k}`} * ${stride}`];
  });
  const sum = [offset, ...terms].filter((term) => term !== "0u").join(" + ") || "0u";
  return `fn ${name}(i: u32) -> u32 {\n  ${lines.join("\n  ")}\n  return ${sum};\n}`;
}

/** `fn name(i: u32) -> u32 { return i; }` */
export function sameIndex(name: string): string {
  return `fn ${name}(i: u32) -> u32 {\n  return i;\n}`;
}

/** Where an element of the broadcast shape comes from in a tensor of `shape`. */
export function broadcastIndex(name: string, shape: Shape, domain: Shape): string {
  if (shape.length === domain.length && shape.every((dim, i) => dim === domain[i])) {
    return sameIndex(name);
  }
  const missing = domain.length - shape.length;
  const own = strides(shape);
  const axes = domain.map((_, k): Axis => {
    const dim: Dim | undefined = shape[k - missing];
    return dim === undefined || dim === 1 ? {} : { stride: own[k - missing] };
  });
  return indexFunction(name, domain, axes);
}
