/**
 * What a pipeline will make of a model, told without a device and without reading weights: which
 * transforms find something, and the memory that a context takes.
 *
 * @module
 */

import { MixlineError } from "../graph/mod.ts";
import { optimize } from "../transforms/mod.ts";
import { cacheBytes, pagesFor } from "../runtime/mod.ts";
import { formatBytes } from "./format.ts";
import type { Subject } from "./run_transforms.ts";

/** Keys of transforms that look for something in a graph; the others have one thing to do. */
const REWRITES = /^(match|fuse|quantize|insert|gather|scale)_/;

/** Of the transforms and caches of a model. */
export interface PipelineFacts {
  /** Matches of each transform that has some, in order. */
  readonly matches: Readonly<Record<string, number>>;
  readonly cache: {
    /** Bytes of keys and values, or latents, of one token in all layers. */
    readonly bytesPerToken: number;
    /** Of one sequence of `max_seq_len` tokens, in whole pages. */
    readonly bytes: number;
    readonly tokens: number;
    /** Layers by element type. */
    readonly layers: Readonly<Record<string, number>>;
  };
}

/** Runs the transforms as for the CPU, whose matches are those of every device. */
async function pipelineFacts(
  { resolved, model, signal }: Subject,
): Promise<PipelineFacts> {
  const { settings, transforms } = resolved;
  const tokens = settings.maxSeqLen ?? model.config.max_position_embeddings;
  const { graph, history } = await optimize({
    steps: transforms,
    signal,
    context: {
      model,
      target: { executor: "cpu" },
      settings: {
        maxSeqLen: tokens,
        maxBatchSize: settings.maxBatchSize,
        maxNumTokens: settings.maxNumTokens ?? tokens,
      },
      log: () => {},
    },
  });
  const found = history.filter(({ key, num_matches: count }) => count > 0 && REWRITES.test(key));
  const bytes = (pages: number) =>
    graph.caches.reduce(
      (sum, cache) => sum + cacheBytes(cache, pages, "keys") + cacheBytes(cache, pages, "values"),
      0,
    );
  const pageSize = graph.caches[0]?.pageSize ?? 1;
  const layers = Map.groupBy(graph.caches, ({ dtype }) => dtype);
  return {
    matches: Object.fromEntries(found.map(({ key, num_matches: count }) => [key, count])),
    cache: {
      bytesPerToken: bytes(1) / pageSize,
      bytes: bytes(pagesFor(tokens, pageSize)),
      tokens,
      layers: Object.fromEntries([...layers].map(([dtype, { length }]) => [dtype, length])),
    },
  };
}

/** The same, or why the transforms cannot run: the files of such a model can be looked at all the same. */
export async function factsOrReason(subject: Subject): Promise<PipelineFacts | { reason: string }> {
  try {
    return await pipelineFacts(subject);
  } catch (error) {
    if (error instanceof MixlineError) return { reason: error.message };
    throw error;
  }
}

/** The facts as rows of a table. */
export function factRows(facts: PipelineFacts | { readonly reason: string }): string[][] {
  if ("reason" in facts) return [["transforms", facts.reason]];
  const { matches, cache } = facts;
  const found = Object.entries(matches).map(([key, count]) => `${key} ${count}`);
  const types = Object.entries(cache.layers).map(([dtype, count]) => `${count} layers in ${dtype}`);
  return [
    ["transforms that match", found.join(", ") || "none"],
    [
      "KV cache",
      `${formatBytes(cache.bytesPerToken)} a token (${types.join(", ") || "none"}), ${
        formatBytes(cache.bytes)
      } for ${cache.tokens} tokens of a sequence`,
    ],
  ];
}
