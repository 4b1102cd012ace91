/**
 * Logits of a graph that is a language model, on the CPU.
 *
 * @module
 */

import { parse } from "../../deps/yaml.ts";
import type { Graph, TensorSource } from "../../graph/mod.ts";
import { openCpuExecutor } from "../../runtime/cpu/executor.ts";
import type { PipelineStep } from "../../transforms/mod.ts";

const PAGE_SIZE = 16;

/** The steps of `configs/default.yaml`, with fields of single transforms changed. */
export async function defaultSteps(
  changes: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {},
): Promise<PipelineStep[]> {
  const file = new URL("../../configs/default.yaml", import.meta.url);
  const { transforms } = parse(await Deno.readTextFile(file));
  return Object.entries<Record<string, unknown>>(transforms).map(([key, config]) => ({
    key,
    config: { ...config, ...changes[key] },
  }));
}

/**
 * Logits [tokens, vocabulary] of one sequence, fed in chunks of these sizes (all at once without).
 * The pages of the cache are numbered backwards, so that a page taken for its number is seen.
 */
export async function logitsOf(
  graph: Graph,
  source: TensorSource,
  tokenIds: readonly number[],
  chunks: readonly number[] = [tokenIds.length],
): Promise<Float32Array<ArrayBuffer>> {
  const pages = Math.ceil(tokenIds.length / PAGE_SIZE);
  const executor = openCpuExecutor();
  try {
    const program = await executor.compile(graph, {
      source,
      maxTokens: tokenIds.length,
      maxSequences: 1,
      pages,
      maxPagesPerSequence: pages,
    });
    const rows: number[] = [];
    let start = 0;
    for (const size of chunks) {
      const positions = Int32Array.from({ length: size }, (_, i) => start + i);
      const { logits = [] } = await program.step({
        tokenIds: positions.map((position) => tokenIds[position]),
        positions,
        sequenceIds: new Int32Array(size),
        blockTable: {
          data: Int32Array.from({ length: pages }, (_, i) => pages - 1 - i),
          sequences: 1,
          pages,
        },
        logitsRows: Int32Array.from({ length: size }, (_, i) => i),
        want: "logits",
        repeat: 1,
      });
      for (const logit of logits) rows.push(logit);
      start += size;
    }
    return Float32Array.from(rows);
  } finally {
    executor.dispose();
  }
}
