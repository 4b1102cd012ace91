/**
 * Comparisons of a golden model with transformers: the whole model in steps of several sizes, and its
 * blocks with experts alone.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Graph } from "../../graph/mod.ts";
import type { Model } from "../../models/mod.ts";
import type { Executor, Program } from "../../runtime/mod.ts";
import type { GoldenValues } from "./golden_values.ts";
import { compileForSteps, exposeChoices, follow, MOST_TOKENS, prefill } from "./golden_steps.ts";
import { cutMoeBlocks } from "./moe_blocks.ts";
import { relativeError, TOLERANCES } from "./tolerances.ts";

/**
 * The longest prompt at once, one in chunks of 5, one token by token: logits and choices of experts of
 * each, and the greedy tokens behind the first and the last.
 */
export async function checkModel(
  executor: Executor,
  graph: Graph,
  model: Model,
  golden: GoldenValues,
): Promise<void> {
  const choices = exposeChoices(graph);
  const program = await compileForSteps(executor, graph, model);
  const longest = golden.prompts.slice(-1)[0];
  for (const [prompt, size] of [[longest, 64], ["p1", 5], ["p0", 1]] as const) {
    const what = `${prompt} in steps of ${size}`;
    const ids = golden.get(`${prompt}.input_ids`);
    const { logits, named } = await prefill(program, ids, size, choices.map(({ name }) => name));
    const error = relativeError(logits, golden.get(`${prompt}.logits`));
    assert.ok(error <= TOLERANCES.logitsF32, `${what}: logits are off by ${error}`);
    for (const { layer, name } of choices) {
      const known = `${prompt}.router.${layer}.ids`;
      if (!golden.has(known)) continue;
      const chosen = sortRows(named[name], ids.length, golden.get(known).length / ids.length);
      assert.deepEqual(chosen, golden.get(known), `${what}: ${known}`);
    }
    if (size !== 5) await checkGreedy(program, logits, golden, prompt);
  }
  program.dispose();
}

/** The routed experts of every token in ascending order; shared ones, if any, have the numbers behind. */
function sortRows(ids: readonly number[], rows: number, topK: number): number[] {
  const size = ids.length / rows;
  return Array.from(
    { length: rows },
    (_, row) => ids.slice(row * size, (row + 1) * size).sort((a, b) => a - b).slice(0, topK),
  ).flat();
}

async function checkGreedy(
  program: Program,
  logits: readonly number[],
  golden: GoldenValues,
  prompt: string,
): Promise<void> {
  const expected = golden.get(`${prompt}.greedy`);
  const tokens = golden.get(`${prompt}.input_ids`).length;
  const last = logits.slice(-logits.length / tokens);
  const first = last.indexOf(Math.max(...last));
  assert.deepEqual(await follow(program, first, tokens, expected.length), expected, prompt);
}

/** The first rows of a golden tensor, which follow each other again and again. */
function rowsOf(golden: GoldenValues, name: string, rows: number): Float32Array<ArrayBuffer> {
  const values = golden.get(name);
  const width = values.length / golden.get("p1.input_ids").length;
  return Float32Array.from({ length: rows * width }, (_, i) => values[i % values.length]);
}

/** The model whose eager graph is its blocks with experts. */
export function blocksOf(model: Model): Model {
  return {
    ...model,
    build(options) {
      const built = model.build(options);
      cutMoeBlocks(built.graph);
      return built;
    },
  };
}

/** Layers of the blocks of such a graph, ascending. */
export function layersOf(graph: Graph): number[] {
  return [...graph.outputs.keys()].map((name) => Number(name.slice("y.".length)));
}

/**
 * Blocks with experts from transformers' inputs, in a step of so many tokens; more than the prompt has
 * are the prompt several times. Gives the rows by layer.
 */
export async function runBlocks(
  executor: Executor,
  graph: Graph,
  model: Model,
  golden: GoldenValues,
  tokens: number,
): Promise<Map<number, ArrayLike<number>>> {
  const program = await compileBlocks(executor, graph, model);
  const rows = await stepOfBlocks(program, graph, golden, tokens);
  program.dispose();
  return rows;
}

/** The same in steps of several sizes, compared with transformers' outputs. */
export async function checkBlocks(
  executor: Executor,
  graph: Graph,
  model: Model,
  golden: GoldenValues,
  sizes: readonly number[],
): Promise<void> {
  const program = await compileBlocks(executor, graph, model);
  for (const tokens of sizes) {
    for (const [layer, got] of await stepOfBlocks(program, graph, golden, tokens)) {
      const error = relativeError(got, rowsOf(golden, `p1.moe.${layer}.out`, tokens));
      assert.ok(error <= TOLERANCES.moeF32, `block ${layer}, ${tokens} tokens: off by ${error}`);
    }
  }
  program.dispose();
}

function compileBlocks(executor: Executor, graph: Graph, { checkpoint }: Model): Promise<Program> {
  return executor.compile(graph, {
    source: checkpoint,
    ...{ maxTokens: MOST_TOKENS, maxSequences: 1, pages: 0, maxPagesPerSequence: 1 },
  });
}

async function stepOfBlocks(
  program: Program,
  graph: Graph,
  golden: GoldenValues,
  tokens: number,
): Promise<Map<number, ArrayLike<number>>> {
  const inputs: Record<string, Float32Array<ArrayBuffer>> = {};
  for (const layer of layersOf(graph)) {
    inputs[`x.${layer}`] = rowsOf(golden, `p1.moe.${layer}.in`, tokens);
    inputs[`beside.${layer}`] = new Float32Array(inputs[`x.${layer}`].length);
  }
  const results = await program.run(inputs, { T: tokens });
  return new Map(layersOf(graph).map((layer) => [layer, results[`y.${layer}`]]));
}
