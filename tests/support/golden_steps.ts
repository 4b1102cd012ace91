/**
 * Prompts through a fused graph with a cache, in steps of any size: logits, chosen experts, and the
 * tokens that follow.
 *
 * @module
 */

import { type Graph, isOp, type Sampling } from "../../graph/mod.ts";
import type { Model } from "../../models/mod.ts";
import type { CompileOptions, Executor, Program, StepRequest } from "../../runtime/mod.ts";
import { optimize } from "../../transforms/mod.ts";
import { defaultSteps } from "./language_model.ts";
import type { Changes } from "./quantized_models.ts";

/** Tokens of the longest step, and of the longest prompt with what follows. */
export const MOST_TOKENS = 64;
const PAGES = MOST_TOKENS / 16;

const GREEDY: Sampling = {
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 },
};

/** Where a graph is to run. */
export type Target = Parameters<typeof optimize>[0]["context"]["target"];

/** The graph of the default pipeline with a cache in f32, as the goldens were made. */
export async function fusedGraph(model: Model, target: Target, changes: Changes = {}) {
  const { graph } = await optimize({
    steps: await defaultSteps({ insert_cached_attention: { cache_dtype: "f32" }, ...changes }),
    context: {
      model,
      target,
      settings: { maxSeqLen: MOST_TOKENS, maxBatchSize: 1, maxNumTokens: MOST_TOKENS },
      log() {},
    },
  });
  return graph;
}

/** Makes the choices of a graph's routers results; returns their layers and names. */
export function exposeChoices(graph: Graph): { layer: number; name: string }[] {
  return graph.nodes.filter((node) => isOp(node, "moe_router")).map(({ scope, outputs }) => {
    const layer = Number(/\.(?:layers|blocks)\.(\d+)(?:\.|$)/.exec(scope)?.[1]);
    const name = `choices.${layer}`;
    graph.setOutput(name, outputs[0]);
    return { layer, name };
  });
}

/** Makes such a graph ready for {@linkcode prefill} and {@linkcode follow}. */
export function compileForSteps(
  executor: Executor,
  graph: Graph,
  { checkpoint }: Model,
  options: Pick<CompileOptions, "compileAll"> = {},
): Promise<Program> {
  return executor.compile(graph, {
    ...options,
    source: checkpoint,
    ...{ maxTokens: MOST_TOKENS, maxSequences: 1, pages: PAGES, maxPagesPerSequence: PAGES },
  });
}

/** What the steps of a prompt give: logits of its tokens, and named results, one list for each step. */
export interface Prefilled {
  readonly logits: number[];
  readonly named: Record<string, number[]>;
}

/** Computes a prompt in steps of at most so many tokens. */
export async function prefill(
  program: Program,
  ids: readonly number[],
  size: number,
  names: readonly string[],
): Promise<Prefilled> {
  const logits: number[] = [];
  const named: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]));
  for (let start = 0; start < ids.length; start += size) {
    const tokens = ids.slice(start, start + size);
    const rows = Int32Array.from(tokens.keys());
    const step = await program.step({
      ...requestOf(tokens, start),
      ...{ logitsRows: rows, want: "logits", repeat: 1 },
    });
    for (const logit of step.logits ?? []) logits.push(logit);
    const results = await program.recentOutputs(names);
    for (const name of names) named[name].push(...results[name]);
  }
  return { logits, named };
}

/** The greedy tokens behind a prompt that the cache has: `first`, and `count - 1` more. */
export async function follow(
  program: Program,
  first: number,
  start: number,
  count: number,
): Promise<number[]> {
  const { tokens = [] } = await program.step({
    ...requestOf([first], start),
    ...{ logitsRows: Int32Array.of(0), want: [GREEDY], repeat: count - 1 },
  });
  return [first, ...tokens.flatMap((row) => [...row])];
}

/** The tokens of one sequence; its pages are numbered backwards. */
function requestOf(
  tokens: readonly number[],
  start: number,
): Pick<StepRequest, "tokenIds" | "positions" | "sequenceIds" | "blockTable"> {
  return {
    tokenIds: Int32Array.from(tokens),
    positions: Int32Array.from(tokens, (_, i) => start + i),
    sequenceIds: new Int32Array(tokens.length),
    blockTable: {
      data: Int32Array.from({ length: PAGES }, (_, i) => PAGES - 1 - i),
      ...{ sequences: 1, pages: PAGES },
    },
  };
}
