/**
 * Compares the logits of a graph before and after each transform, on the CPU.
 *
 * @module
 */

import { type Graph, isOp, type TensorSource } from "../graph/mod.ts";
import { openCpuExecutor } from "../runtime/mod.ts";
import type { TransformRecord } from "../transforms/mod.ts";
import { logitsOf } from "./single_sequence.ts";

/** Why a transform without matches is not compared. */
export const NOTHING_CHANGED = "it matched nothing";

/** What one transform, or compiling, did to the logits. JSON-safe. */
export interface VerifyRow {
  /** Key of the transform, or `compiled program`. */
  readonly transform: string;
  /** The transform whose graph it was compared with; the CPU for a program. */
  readonly against?: string;
  /** Steps of the program, such as `16 tokens, one after the other`. */
  readonly step?: string;
  /** Largest |difference| of two logits, divided by the largest |logit|. */
  readonly maxDifference?: number;
  /** Mean over tokens of the Kullback-Leibler divergence, in nats. */
  readonly meanDivergence?: number;
  /** Tokens whose most likely next token has changed. */
  readonly changedTokens?: number;
  /** The first node whose result is off, where the logits of a program are. */
  readonly firstBadNode?: string;
  /** Why there is nothing to compare. */
  readonly skipped?: string;
}

/** Logits `[tokens, vocab]` of the sample text, and the transform that left them. */
interface Reference {
  readonly transform: string;
  readonly logits: Float32Array;
}

/**
 * Runs graphs on sample tokens. The CPU reads all weights for each comparison, so this is slow for
 * large models.
 */
export class TransformVerifier {
  readonly rows: VerifyRow[] = [];
  #reference: Reference | undefined;

  /** `source` has the weights; `tokenIds` is the sample, of at least one token. */
  constructor(readonly source: TensorSource, readonly tokenIds: Int32Array<ArrayBuffer>) {}

  /** Logits `[tokens, vocab]` of the sample by the last graph that differs from the one before. */
  get logits(): Float32Array | undefined {
    return this.#reference?.logits;
  }

  /** Compares a graph with the last one that could be run; called after every transform that ran. */
  async compare(graph: Graph, record: TransformRecord): Promise<VerifyRow> {
    const row = await this.#compare(graph, record);
    this.rows.push(row);
    return row;
  }

  async #compare(graph: Graph, { key, num_matches }: TransformRecord): Promise<VerifyRow> {
    const reason = unrunnable(graph);
    if (reason !== undefined) return { transform: key, skipped: reason };
    const before = this.#reference;
    if (before && num_matches === 0) return { transform: key, skipped: NOTHING_CHANGED };
    const logits = await logitsOnCpu(graph, this.source, this.tokenIds);
    this.#reference = { transform: key, logits };
    if (!before) return { transform: key, skipped: "it is the first graph that runs" };
    const vocabulary = logits.length / this.tokenIds.length;
    return {
      transform: key,
      against: before.transform,
      ...compareLogits(before.logits, logits, vocabulary),
    };
  }
}

/** Why a graph between two transforms cannot be run; undefined when it can. */
function unrunnable(graph: Graph): string | undefined {
  if (!graph.outputs.has("logits")) return "the graph has no logits yet";
  const caches = new Set(graph.caches.map(({ name }) => name));
  const isMissing = graph.nodes.some((node) =>
    isOp(node, "cached_attention") && !caches.has(node.attrs.cache)
  );
  return isMissing ? "its caches are made by a later transform" : undefined;
}

/** Logits `[tokens, vocab]` of one sequence, in one step. */
async function logitsOnCpu(
  graph: Graph,
  source: TensorSource,
  tokenIds: Int32Array<ArrayBuffer>,
): Promise<Float32Array> {
  const tokens = tokenIds.length;
  const pageSize = graph.caches[0]?.pageSize ?? tokens;
  const pages = Math.ceil(tokens / pageSize);
  const executor = openCpuExecutor();
  try {
    const program = await executor.compile(graph, {
      source,
      maxTokens: tokens,
      maxSequences: 1,
      pages,
      maxPagesPerSequence: pages,
    });
    return await logitsOf(program, { tokenIds, pageSize, chunk: tokens });
  } finally {
    executor.dispose();
  }
}

/**
 * How far logits are from a reference, both `[tokens, vocabulary]`.
 *
 * @example
 * ```ts
 * import { compareLogits } from "./verify.ts";
 * const { maxDifference, changedTokens } = compareLogits([4, 1], [4, 2], 2);
 * console.assert(maxDifference === 0.25 && changedTokens === 0);
 * ```
 */
export function compareLogits(
  reference: ArrayLike<number>,
  logits: ArrayLike<number>,
  vocabulary: number,
): { maxDifference: number; meanDivergence: number; changedTokens: number } {
  let [worst, largest, divergence, changedTokens] = [0, 0, 0, 0];
  const tokens = reference.length / vocabulary;
  for (let start = 0; start < reference.length; start += vocabulary) {
    for (let i = start; i < start + vocabulary; i++) {
      const gap = Math.abs(logits[i] - reference[i]);
      // A NaN is the largest possible difference, and must not lose against a number.
      worst = Number.isNaN(gap) ? Infinity : Math.max(worst, gap);
      largest = Math.max(largest, Math.abs(reference[i]));
    }
    const [before, after] = [reference, logits].map((row) => logSoftmax(row, start, vocabulary));
    // A token of probability 0 adds nothing, whatever its logarithm.
    divergence += before.reduce(
      (sum, p, i) => (p === -Infinity ? sum : sum + Math.exp(p) * (p - after[i])),
      0,
    );
    if (argmax(before) !== argmax(after)) changedTokens++;
  }
  return {
    maxDifference: worst === 0 ? 0 : worst / largest,
    meanDivergence: Number.isNaN(divergence) ? Infinity : Math.max(0, divergence / tokens),
    changedTokens,
  };
}

function logSoftmax(values: ArrayLike<number>, start: number, length: number): Float64Array {
  const row = Float64Array.from({ length }, (_, i) => values[start + i]);
  const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
  const logSum = Math.log(row.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return row.map((value) => value - most - logSum);
}

function argmax(row: Float64Array): number {
  return row.reduce((best, value, i) => (value > row[best] ? i : best), 0);
}
