/**
 * How exporters lay out the experts of a layer, beside one matrix for each.
 *
 * @module
 */

import { cast, type DType, select, slice, transpose, type Weight } from "../../graph/mod.ts";

/** The three matrices of a gated expert: w1 is the gate, w3 the up projection, w2 the down one. */
export interface ExpertWeights {
  /** [I, H] */
  readonly w1: Weight;
  /** [H, I] */
  readonly w2: Weight;
  /** [I, H] */
  readonly w3: Weight;
}

/** Sizes of the experts of a layer. */
export interface ExpertSizes {
  /** E */
  readonly experts: number;
  /** H, elements of a token. */
  readonly hidden: number;
  /** I, elements between an expert's two products. */
  readonly intermediate: number;
}

/** Stacks of a layer's experts as they lie in the file. */
export interface ExpertStacks {
  readonly gateUp: readonly number[];
  readonly down: readonly number[];
}

/**
 * Whether the stacks are transposed: [E, H, 2I] and [E, I, H], which are multiplied from the right, in
 * place of [E, 2I, H] and [E, H, I]. Where one of them is square or has a wrong shape, the other decides.
 *
 * @example
 * ```ts
 * import { areTransposed } from "./expert_layouts.ts";
 * const sizes = { experts: 4, hidden: 8, intermediate: 3 };
 * console.assert(areTransposed({ gateUp: [4, 8, 6], down: [4, 3, 8] }, sizes));
 * console.assert(!areTransposed({ gateUp: [4, 6, 8], down: [4, 8, 3] }, sizes));
 * ```
 */
export function areTransposed({ gateUp, down }: ExpertStacks, sizes: ExpertSizes): boolean {
  const { experts, hidden, intermediate } = sizes;
  const fitting = (wanted: readonly (readonly number[])[]) =>
    [gateUp, down].filter((shape, i) => String(shape) === String(wanted[i])).length;
  const turned = fitting([[experts, hidden, 2 * intermediate], [experts, intermediate, hidden]]);
  const straight = fitting([[experts, 2 * intermediate, hidden], [experts, hidden, intermediate]]);
  return turned > straight;
}

/** Experts out of stacks [E, 2I, H], gate rows first, and [E, H, I]. */
export function unstack(
  gateUp: Weight,
  down: Weight,
  { experts, intermediate }: ExpertSizes,
): ExpertWeights[] {
  return Array.from({ length: experts }, (_, e) => {
    const both = select(gateUp, 0, e);
    return {
      w1: slice(both, 0, 0, intermediate),
      w2: select(down, 0, e),
      w3: slice(both, 0, intermediate, 2 * intermediate),
    };
  });
}

/** A stack that is multiplied from the right, as rows. */
export function turnStack(stack: Weight): Weight {
  return transpose(stack, 1, 2);
}

const PLAIN: readonly DType[] = ["f32", "f16", "bf16"];

/**
 * Experts of one element type, for a kernel reads a layer's experts as one tensor. Where plain types
 * differ, as after an export of some experts, all become f32, which holds each exactly.
 */
export function inOneType(experts: readonly ExpertWeights[]): ExpertWeights[] {
  const all = experts.flatMap(({ w1, w2, w3 }) => [w1, w2, w3]);
  const types = new Set(all.map(({ dtype }) => dtype));
  const isPlain = all.every(({ kind, dtype }) => kind !== "dequantize" && PLAIN.includes(dtype));
  if (types.size === 1 || !isPlain) return [...experts];
  return experts.map(({ w1, w2, w3 }) => ({
    w1: cast(w1, "f32"),
    w2: cast(w2, "f32"),
    w3: cast(w3, "f32"),
  }));
}
