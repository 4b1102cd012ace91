/**
 * Steps over paged caches, as tests of single attention kernels need them: tokens, block tables, caches of
 * random numbers.
 *
 * @module
 */

import assert from "node:assert/strict";
import {
  type CacheDtype,
  encodeE4M3,
  type HostArray,
  type HostTensor,
  viewBytes,
} from "../../graph/mod.ts";
import type { CpuCache } from "../../kernels/cpu/kernel.ts";
import { integerInput, type OpInput, randomF32, worstDifference } from "./op_case.ts";
import type { DispatchRunner } from "./run_dispatches.ts";
import { TOLERANCES } from "./tolerances.ts";

/** Tokens of a step: `[sequence, position]` each. */
export type Tokens = readonly (readonly [number, number])[];

/** `count` tokens of a sequence from a position on. */
export function run(sequence: number, first: number, count: number): Tokens {
  return Array.from({ length: count }, (_, i) => [sequence, first + i] as const);
}

/** Rows of the block table, and pages of each. */
export const SEQUENCES = 4;
export const PAGES_PER_SEQUENCE = 12;

/** Numbers of a shape behind the pages' own dimension, as if other steps had filled a cache. */
export function cachedNumbers(
  dtype: CacheDtype,
  rest: readonly [kvHeads: number, pageSize: number, width: number],
  seed: number,
): HostTensor {
  const shape = [SEQUENCES * PAGES_PER_SEQUENCE, ...rest];
  return { dtype, shape, data: stored(dtype, randomF32(shape.reduce((a, b) => a * b), seed)) };
}

/** Numbers as a cache holds them. */
function stored(dtype: CacheDtype, data: Float32Array<ArrayBuffer>): HostArray {
  if (dtype === "f32") return data;
  return dtype === "f16" ? Float16Array.from(data) : Uint8Array.from(data, encodeE4M3);
}

/** Pages of the sequences, in an order that is not the natural one. */
export function blockTable(): OpInput {
  const count = SEQUENCES * PAGES_PER_SEQUENCE;
  const data = Array.from({ length: count }, (_, i) => (i * 7 + 3) % count);
  return integerInput(["S", "P"], data);
}

/** Inputs that say where tokens stand. */
export function placeInputs(tokens: Tokens): Record<string, OpInput> {
  return {
    positions: integerInput(["T"], tokens.map(([, position]) => position)),
    sequence_ids: integerInput(["T"], tokens.map(([sequence]) => sequence)),
    block_table: blockTable(),
  };
}

/** Sizes of a step over `tokens`. */
export function stepSizes(tokens: Tokens) {
  return { T: tokens.length, S: SEQUENCES, P: PAGES_PER_SEQUENCE };
}

/** Inverse frequencies of a rotary embedding of base 10000. */
export function inverseFrequencies(rotaryDim: number): OpInput {
  const data = Float32Array.from(
    { length: rotaryDim / 2 },
    (_, i) => 10000 ** (-2 * i / rotaryDim),
  );
  return { dtype: "f32", shape: [rotaryDim / 2], data, weight: true };
}

/** The device's cache must be the CPU's. */
export async function checkCache(
  runner: DispatchRunner,
  cache: CpuCache,
  parts: readonly ("keys" | "values")[],
  what: string,
): Promise<void> {
  for (const part of parts) {
    const { dtype, shape, data } = cache[part];
    const raw = await runner.readBytes({ kind: "cache", cache: "layer", part }, data.byteLength);
    const own = viewBytes(dtype, new Uint8Array(raw));
    const off = worstDifference({ dtype, shape, data: own }, cache[part]);
    const tolerance = dtype === "f16" ? TOLERANCES.cacheF16 : TOLERANCES.kernelF32;
    assert.ok(off < tolerance, `${what}: ${part} off by ${off}`);
  }
}
