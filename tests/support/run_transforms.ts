/**
 * Runs transforms in tests, and graphs before and after them on the CPU.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Graph, HostTensor } from "../../graph/mod.ts";
import { openCpuExecutor } from "../../runtime/cpu/executor.ts";
import {
  optimize,
  type PipelineStep,
  type TransformContext,
  type TransformRecord,
} from "../../transforms/mod.ts";
import { f32, numbersOf, plainOptions, random } from "./host_tensors.ts";
import type { EagerBlocks } from "./eager_blocks.ts";

/** A context for transforms that read no model. */
export function contextWithoutModel(settings: Partial<TransformContext> = {}): TransformContext {
  return {
    get model(): never {
      throw new Error("this test has no model");
    },
    target: { executor: "cpu" },
    settings: { maxSeqLen: 64, maxBatchSize: 2, maxNumTokens: 64 },
    log() {},
    ...settings,
  };
}

/** A key, or a key with fields. */
export type StepEntry = string | readonly [string, Readonly<Record<string, unknown>>];

/** Steps from keys, or from keys with fields. */
export function steps(...entries: readonly StepEntry[]): PipelineStep[] {
  return entries.map((entry) => {
    const [key, config] = typeof entry === "string" ? [entry, {}] : entry;
    return { key, config };
  });
}

/** Runs steps on a graph in place and returns the records by key. */
export async function apply(
  graph: Graph,
  list: readonly PipelineStep[],
  context = contextWithoutModel(),
): Promise<Record<string, TransformRecord>> {
  const { history } = await optimize({ steps: list, graph, context });
  return Object.fromEntries(history.map((record) => [record.key, record]));
}

/** Results of a graph on the CPU for random inputs of `tokens` tokens. */
export async function runOnCpu(
  graph: Graph,
  tensors: ReadonlyMap<string, HostTensor>,
  tokens: number,
): Promise<Record<string, Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer>>> {
  const inputs = Object.fromEntries(graph.inputs.map((value, i) => {
    const shape = value.shape.map((dim) => typeof dim === "string" ? tokens : dim);
    const data = value.dtype === "f32"
      ? numbersOf(random(shape, 100 + i))
      : Int32Array.from({ length: numbersOf(f32(shape, 0)).length }, (_, j) => j);
    return [value.name, data];
  }));
  const executor = openCpuExecutor();
  try {
    const program = await executor.compile(graph, plainOptions(tensors));
    return await program.run(inputs, { T: tokens, R: tokens });
  } finally {
    executor.dispose();
  }
}

/** Largest difference of two results, relative to the largest number. */
export function difference(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.equal(got.length, expected.length);
  let [worst, largest] = [0, 1e-30];
  for (let i = 0; i < got.length; i++) {
    const gap = Math.abs(got[i] - expected[i]);
    worst = Number.isNaN(gap) ? Infinity : Math.max(worst, gap);
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return worst / largest;
}

/** Runs steps and checks that every output stays what it was; returns the records by key. */
export async function applyAndCompare(
  blocks: EagerBlocks,
  list: readonly PipelineStep[],
  { tokens = 5, tolerance = 1e-5, context = contextWithoutModel() } = {},
): Promise<Record<string, TransformRecord>> {
  const before = await runOnCpu(blocks.graph, blocks.tensors, tokens);
  const records = await apply(blocks.graph, list, context);
  const after = await runOnCpu(blocks.graph, blocks.tensors, tokens);
  for (const name of Object.keys(before)) {
    const worst = difference(after[name], before[name]);
    assert.ok(worst <= tolerance, `output "${name}" differs by ${worst}`);
  }
  return records;
}
