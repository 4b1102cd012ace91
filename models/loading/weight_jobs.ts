/**
 * Weights cut into jobs: ranges of bytes that can be evaluated by themselves, by whichever thread is
 * free. A job is never so small that work is done twice: what is quantized together, codes and scales
 * of the same rows, is one job, and so is what has to be turned as a whole.
 *
 * @module
 */

import {
  dependsOnWhole,
  DTYPE_BYTES,
  elementCount,
  isPacked,
  packedShape,
  type QuantizeWeight,
  tensorBytes,
  type Weight,
} from "../../graph/mod.ts";
import { bandRows } from "../formats/packed_reader.ts";
import { isAlongMemory } from "./largest_numbers.ts";

/** Bytes of one weight, by its index in the list that was cut. */
export interface WeightRange {
  readonly weight: number;
  /** A multiple of 4. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** Ranges of one weight or of several that are evaluated together. */
export interface WeightJob {
  readonly ranges: readonly WeightRange[];
  /**
   * In which steps the ranges are filled: each step has the bytes of each range that come next. What
   * the ranges of a step share is computed once.
   */
  readonly steps: readonly (readonly number[])[];
  /**
   * Jobs that follow each other with the same number are one thread's: what a matrix as a whole is
   * asked for, such as its largest number, is computed for the first of them and known to the others.
   */
  readonly run: number;
}

/** Bytes that each weight of a job gets in a step. */
interface Step {
  readonly sizes: readonly number[];
  /** Whether it needs to know what the step before had to find out about their matrix. */
  readonly isContinued: boolean;
}

/** Bytes that a job's buffer holds: its ranges one after the other, each at a multiple of 8. */
export function jobBytes({ ranges }: WeightJob): number {
  return ranges.reduce((sum, { byteLength }) => sum + padded(byteLength), 0);
}

/** Bytes rounded up to a multiple of 8. */
export function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

/** Cuts weights into jobs of about so many bytes, in the order of the weights. */
export function cutWeights(weights: readonly Weight[], bytes: number): WeightJob[] {
  const jobs: WeightJob[] = [];
  for (const group of groupsOf(weights)) {
    const steps = group.length === 1
      ? stepsOf(weights[group[0]], bytes)
      : bandsOf(group.map((index) => weights[index]));
    jobs.push(...cutSteps(group, steps, bytes, jobs.length));
  }
  return jobs;
}

/** Indices of weights that are made of the same matrices, such as codes and scales; or of one. */
function groupsOf(weights: readonly Weight[]): number[][] {
  const groups = new Map<Weight, number[]>();
  const result: number[][] = [];
  for (const [index, weight] of weights.entries()) {
    const leaves = quantizedLeaves(weight);
    const known = leaves && groups.get(leaves[0].of);
    if (known && leaves && isSame(quantizedLeaves(weights[known[0]]), leaves)) {
      known.push(index);
      continue;
    }
    const group = [index];
    result.push(group);
    if (leaves) groups.set(leaves[0].of, group);
  }
  return result;
}

/** The parts of a weight in the order of its bytes, when all of them are quantized matrices. */
function quantizedLeaves(weight: Weight): QuantizeWeight[] | undefined {
  switch (weight.kind) {
    case "quantize":
      return [weight];
    case "reshape":
      return quantizedLeaves(weight.of);
    case "stack":
    case "concat": {
      if (weight.kind === "concat" && !isAlongMemory(weight)) return undefined;
      const all: QuantizeWeight[] = [];
      for (const part of weight.parts) {
        const leaves = quantizedLeaves(part);
        if (!leaves) return undefined;
        all.push(...leaves);
      }
      return all;
    }
    default:
      return undefined;
  }
}

function isSame(a: QuantizeWeight[] | undefined, b: readonly QuantizeWeight[]): boolean {
  return a?.length === b.length &&
    a.every((leaf, i) =>
      leaf.of === b[i].of && leaf.format === b[i].format &&
      String(leaf.block) === String(b[i].block)
    );
}

/** For each band of rows that is quantized at once, the bytes that it gives each weight. */
function bandsOf(weights: readonly Weight[]): Step[] {
  const leaves = weights.map((weight) => quantizedLeaves(weight) ?? []);
  return leaves[0].flatMap((leaf, i) => {
    const [rows, columns] = leaf.of.shape;
    const format = isPacked(leaf.format) ? leaf.format : "int8";
    const band = bandRows(format, rows, columns, leaf.block);
    const steps: Step[] = [];
    const isWhole = dependsOnWhole(format, rows, columns, leaf.block);
    for (let row = 0; row < rows; row += band) {
      const end = Math.min(rows, row + band);
      const sizes = leaves.map((each) => rowBytes(each[i], row, end, rows));
      steps.push({ sizes, isContinued: isWhole && row > 0 });
    }
    return steps;
  });
}

/** Bytes of a component for rows of its matrix. */
function rowBytes(leaf: QuantizeWeight, row: number, end: number, rows: number): number {
  const format = isPacked(leaf.format) ? leaf.format : "int8";
  const { block, payload, scale } = packedShape(format, rows, leaf.of.shape[1], leaf.block);
  const size = DTYPE_BYTES[leaf.dtype];
  switch (leaf.component) {
    case "payload":
      return (end - row) * payload[1] * size;
    case "scale":
      return (Math.ceil(end / block[0]) - Math.ceil(row / block[0])) * scale[1] * size;
    case "scale_2":
      return row === 0 ? size : 0;
  }
}

/** Steps at whose ends a single weight may be cut without work being done twice. */
function stepsOf(weight: Weight, bytes: number): Step[] {
  if (quantizedLeaves(weight)) return bandsOf([weight]);
  if (
    weight.kind === "stack" || (weight.kind === "concat" && isAlongMemory(weight))
  ) {
    return weight.parts.flatMap((part) => stepsOf(part, bytes));
  }
  if (weight.kind === "reshape") return stepsOf(weight.of, bytes);
  const total = tensorBytes(weight);
  const unit = unitBytes(weight);
  const step = Math.min(total, Math.max(unit, Math.floor(bytes / unit) * unit));
  const steps: Step[] = [];
  for (let at = 0; at < total; at += step) {
    steps.push({ sizes: [Math.min(step, total - at)], isContinued: false });
  }
  return steps;
}

/** Bytes between which a weight can be cut. */
function unitBytes(weight: Weight): number {
  switch (weight.kind) {
    case "tensor":
    case "constant":
      return 8;
    case "cast":
    case "reinterpret":
    case "reciprocal":
    case "slice":
      return isCheap(weight.of) ? 8 : tensorBytes(weight);
    case "concat":
      return weight.parts.every(isCheap) ? 8 : tensorBytes(weight);
    case "dequantize":
      return 8 * Number(weight.shape.at(-1));
    case "transpose": {
      const outer = weight.shape.slice(0, Math.min(...weight.dims));
      return tensorBytes(weight) / elementCount(outer);
    }
    default:
      return tensorBytes(weight);
  }
}

/** Whether any range is read for about the price of its bytes. */
function isCheap(weight: Weight): boolean {
  switch (weight.kind) {
    case "tensor":
    case "constant":
      return true;
    case "cast":
    case "reinterpret":
    case "reciprocal":
    case "slice":
    case "reshape":
      return isCheap(weight.of);
    case "stack":
    case "concat":
      return weight.parts.every(isCheap);
    default:
      return false;
  }
}

/** Puts steps together to jobs; a job ends where all of its weights are at a multiple of 4 bytes. */
function cutSteps(
  group: readonly number[],
  steps: readonly Step[],
  bytes: number,
  firstRun: number,
): WeightJob[] {
  const jobs: WeightJob[] = [];
  const starts = group.map(() => 0);
  const ends = group.map(() => 0);
  let own: Step[] = [];
  let run = firstRun;
  for (const [i, step] of steps.entries()) {
    own.push(step);
    step.sizes.forEach((size, member) => ends[member] += size);
    const sum = ends.reduce((total, end, member) => total + end - starts[member], 0);
    const isEnd = i === steps.length - 1;
    if (!isEnd && (sum < bytes || ends.some((end) => end % 4 !== 0))) continue;
    const ranges = group.map((weight, member) => ({
      weight,
      byteOffset: starts[member],
      byteLength: ends[member] - starts[member],
    }));
    if (!own[0].isContinued) run = firstRun + jobs.length;
    jobs.push({ ranges, steps: own.map(({ sizes }) => sizes), run });
    own = [];
    starts.splice(0, starts.length, ...ends);
  }
  return jobs;
}
