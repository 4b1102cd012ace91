/**
 * How large the numbers of a weight are, found while its bytes are at hand: whether f16 can hold them
 * is known only then.
 *
 * @module
 */

import {
  type DType,
  DTYPE_BYTES,
  E4M3_VALUES,
  elementCount,
  type Weight,
} from "../../graph/mod.ts";
import { largestOfPairs } from "../formats/quantize_bf16.ts";

/** A part of a weight that is a matrix of its own, such as one of an expert. */
export interface WeightLeaf {
  readonly weight: Weight;
  /** Its first element, counted in the whole weight. */
  readonly first: number;
  readonly elements: number;
}

/** The largest magnitude of what a range of bytes holds of a leaf. */
export interface LeafLargest {
  /** Its index in {@linkcode weightLeaves}. */
  readonly leaf: number;
  readonly largest: number;
}

/** The parts that a weight joins one after the other in memory; the weight itself where there are none. */
export function weightLeaves(weight: Weight, first = 0): WeightLeaf[] {
  if (weight.kind === "reshape") return weightLeaves(weight.of, first);
  if (weight.kind !== "stack" && !(weight.kind === "concat" && isAlongMemory(weight))) {
    return [{ weight, first, elements: elementCount(weight.shape) }];
  }
  let at = first;
  return weight.parts.flatMap((part) => {
    const leaves = weightLeaves(part, at);
    at += elementCount(part.shape);
    return leaves;
  });
}

/** Whether the parts of a concatenation follow each other in memory. */
export function isAlongMemory({ shape, dim }: Pick<Weight, "shape"> & { dim: number }): boolean {
  return elementCount(shape.slice(0, dim)) === 1;
}

/** Leaves of a weight that follow each other, and the index of the first of them. */
export interface MeasuredLeaves {
  readonly firstLeaf: number;
  readonly leaves: readonly Pick<WeightLeaf, "first" | "elements">[];
}

/** Those leaves of a weight that have elements `first .. end - 1`, their places counted from `start` on. */
export function leavesWithin(
  leaves: readonly WeightLeaf[],
  [first, end]: readonly [number, number],
  start: number,
): MeasuredLeaves {
  const isWithin = (leaf: WeightLeaf) => leaf.first < end && leaf.first + leaf.elements > first;
  return {
    firstLeaf: leaves.findIndex(isWithin),
    leaves: leaves.filter(isWithin)
      .map((leaf) => ({ first: leaf.first - start, elements: leaf.elements })),
  };
}

/** The largest magnitudes among elements of a weight, leaf by leaf. */
export function measureLeaves(
  { leaves, firstLeaf }: MeasuredLeaves,
  dtype: DType,
  byteOffset: number,
  bytes: Uint8Array<ArrayBuffer>,
): LeafLargest[] {
  const size = DTYPE_BYTES[dtype];
  const begin = byteOffset / size;
  const end = begin + bytes.length / size;
  const result: LeafLargest[] = [];
  for (const [i, { first, elements }] of leaves.entries()) {
    const [from, to] = [Math.max(begin, first), Math.min(end, first + elements)];
    if (from >= to) continue;
    const part = bytes.subarray((from - begin) * size, (to - begin) * size);
    result.push({ leaf: firstLeaf + i, largest: largestMagnitude(dtype, part) });
  }
  return result;
}

/**
 * The largest magnitude of some elements; of bytes without a sign, such as E8M0 scales, the largest
 * byte. Types that f16 holds all numbers of are not looked at: 0.
 *
 * @example
 * ```ts
 * import { largestMagnitude } from "./largest_numbers.ts";
 * const bytes = new Uint8Array(Float32Array.of(1, -70000, 3).buffer);
 * console.assert(largestMagnitude("f32", bytes) === 70000);
 * ```
 */
export function largestMagnitude(dtype: DType, bytes: Uint8Array<ArrayBuffer>): number {
  switch (dtype) {
    case "f32":
      return f32Of(largestWord(wordsOf(bytes)));
    case "bf16":
      return largestHalf(bytes);
    case "f8_e4m3":
      return E4M3_VALUES[largestByte(bytes, 0x7f)];
    case "u8":
      return largestByte(bytes, 0xff);
    default:
      return 0;
  }
}

function wordsOf({ buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>): Uint32Array {
  return new Uint32Array(buffer, byteOffset, byteLength >> 2);
}

/** Magnitudes are in the order of their bits. */
function largestWord(words: Uint32Array): number {
  let largest = 0;
  for (let i = 0; i < words.length; i++) {
    const bits = words[i] & 0x7fffffff;
    if (bits > largest) largest = bits;
  }
  return largest;
}

/** Two elements at a time, where they lie so. */
function largestHalf(bytes: Uint8Array<ArrayBuffer>): number {
  const pairs = bytes.byteOffset % 4 === 0 ? wordsOf(bytes) : new Uint32Array(0);
  const { buffer, byteOffset, byteLength } = bytes;
  const rest = new Uint16Array(
    buffer,
    byteOffset + pairs.byteLength,
    (byteLength >> 1) - 2 * pairs.length,
  );
  let largest = 0;
  for (let i = 0; i < rest.length; i++) largest = Math.max(largest, rest[i] & 0x7fff);
  return Math.max(largestOfPairs(pairs), f32Of(largest << 16));
}

function largestByte(bytes: Uint8Array, mask: number): number {
  let largest = 0;
  for (let i = 0; i < bytes.length; i++) {
    const bits = bytes[i] & mask;
    if (bits > largest) largest = bits;
  }
  return largest;
}

function f32Of(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0];
}
