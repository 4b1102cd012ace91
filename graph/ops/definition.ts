/**
 * What an entry of the op table says, and the checks that entries share.
 *
 * @module
 */

import { GraphError } from "../errors.ts";
import { type Bindings, bindShape, type Dim, elementCount, formatShape } from "../shape.ts";
import type { TensorType } from "../tensor.ts";

/** Types of a node's inputs by name, as the rules of the op table see them. */
export interface OpInputs {
  /** The type of a single input; an error when it is absent. */
  get(name: string): TensorType;
  /** The type of an optional input. */
  maybe(name: string): TensorType | undefined;
  /** The types of a list input. */
  list(name: string): readonly TensorType[];
}

/** Arithmetic and memory traffic of one node. */
export interface OpCost {
  /** Floating-point operations; attention over a cache counts none, as they depend on the context. */
  readonly flops: number;
  /** Bytes of weights that it reads. */
  readonly weightBytes: number;
}

/** An op: its inputs by name, its attributes (by type), its rule of types, its cost. */
export interface OpDefinition<Attrs> {
  /** One line for the reference page, with the formula. */
  readonly summary: string;
  /** Names in order; `bias?` may be absent, `w1[]` is a list. */
  readonly inputs: readonly string[];
  /** Types of the outputs; throws through {@linkcode fail} when the inputs do not fit. */
  infer(inputs: OpInputs, attrs: Attrs): readonly TensorType[];
  /** Floating-point operations; absent for ops that only move data. */
  flops?(inputs: OpInputs, attrs: Attrs, bindings: Bindings): number;
  /** Part of its weights that it reads at most; absent for all. */
  weightShare?(inputs: OpInputs, attrs: Attrs, bindings: Bindings): number;
  /** True for ops whose result is the same memory under another shape. */
  readonly view?: boolean;
}

/** A table of ops, from the attributes of each by name. */
export type OpTable<Attrs> = { readonly [Op in keyof Attrs]: OpDefinition<Attrs[Op]> };

/** Raises the error of a type rule; the caller adds the node. */
export function fail(expected: string, got: string): never {
  throw new GraphError("graph/type", `expected ${expected}, got ${got}`, {
    details: { expected, got },
  });
}

/** Checks one condition of a type rule. */
export function expect(condition: boolean, expected: string, got: TensorType | string): void {
  if (!condition) fail(expected, typeof got === "string" ? got : formatType(got));
}

/** Text form: `bf16[64, 128]`. */
export function formatType(type: TensorType): string {
  return `${type.dtype}${formatShape(type.shape)}`;
}

/** Elements of a type when symbols have these sizes. */
export function sizeOf(type: TensorType, bindings: Bindings): number {
  return elementCount(bindShape(type.shape, bindings));
}

/** Last dimension. */
export function lastDim(type: TensorType): Dim {
  return type.shape[type.shape.length - 1];
}
