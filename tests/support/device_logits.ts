/**
 * Logits of a graph that is a language model, on a device.
 *
 * @module
 */

import type { Graph, TensorSource } from "../../graph/mod.ts";
import type { WebGpuExecutor } from "../../runtime/mod.ts";

const PAGE_SIZE = 16;

/** Tokens of the last steps, one in each: what decoding does. */
const DECODED = 3;

/**
 * Steps for the models of a list, in turns: a prompt of so many tokens at once, or token by token. Either
 * has shaders of its own; that both read every format is what tests of kernels say.
 */
export function decodedInTurn(index: number, tokens: number): number {
  return Math.floor(index / 2) % 2 === 0 ? 0 : tokens;
}

/** Logits of a prompt: most of it in one step, its last `decoded` tokens one by one. */
export async function deviceLogits(
  executor: WebGpuExecutor,
  graph: Graph,
  source: TensorSource,
  prompt: readonly number[],
  decoded: number = DECODED,
): Promise<number[]> {
  const tokens = prompt.length;
  const pages = Math.ceil(tokens / PAGE_SIZE);
  const range = (start: number, end: number) =>
    Int32Array.from({ length: end - start }, (_, i) => start + i);
  const program = await executor.compile(graph, {
    source,
    maxTokens: tokens,
    maxSequences: 1,
    pages,
    maxPagesPerSequence: pages,
  });
  const all: number[] = [];
  try {
    const steps = [tokens - decoded, ...range(tokens - decoded + 1, tokens + 1)];
    const ends = steps.filter((end) => end > 0);
    for (const [i, end] of ends.entries()) {
      const start = i === 0 ? 0 : ends[i - 1];
      const { logits = [] } = await program.step({
        tokenIds: Int32Array.from(prompt.slice(start, end)),
        positions: range(start, end),
        sequenceIds: new Int32Array(end - start),
        blockTable: { data: range(0, pages), sequences: 1, pages },
        logitsRows: range(0, end - start),
        want: "logits",
        repeat: 1,
      });
      for (const logit of logits) all.push(logit);
    }
    return all;
  } finally {
    program.dispose();
  }
}
