import assert from "node:assert/strict";
import { type Graph, isOp, optionalInput, type Value } from "../../../graph/mod.ts";
import { openCpuExecutor } from "../../../runtime/cpu/executor.ts";
import type { Program, Sampling, StepRequest } from "../../../runtime/executor.ts";
import { type GoldenModel, goldenModels, type GoldenPrompt } from "../../support/golden_models.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

const GREEDY: Sampling = {
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 },
};

for (const golden of await goldenModels()) {
  Deno.test(`the eager graph of ${golden.name} gives transformers' layers, routing and logits`, async () => {
    await withEagerProgram(golden, async (program, layers) => {
      for (const prompt of golden.prompts) {
        const outputs = await program.run(feeds(prompt), { T: prompt.inputIds.length });
        compare(outputs.logits, prompt, "logits");
        for (let layer = 0; layer < layers; layer++) {
          compare(outputs[`hidden.${layer}`], prompt, `hidden.${layer}`);
          const expected = prompt.numbers(`router.${layer}.ids`);
          if (!expected) continue;
          const ids = sortedRows(
            outputs[`router.${layer}.ids`],
            expected.length / prompt.inputIds.length,
          );
          assert.deepEqual(ids, [...Array.from(expected)], `experts of layer ${layer}`);
        }
      }
    });
  });

  Deno.test(`the eager graph of ${golden.name} continues as transformers does`, async () => {
    await withEagerProgram(golden, async (program) => {
      for (const { inputIds, greedy } of golden.prompts) {
        const tokens = [...inputIds];
        for (let i = 0; i < greedy.length; i++) {
          const { tokens: sampled = [] } = await program.step(wholeSequence(tokens));
          tokens.push(sampled[0][0]);
        }
        assert.deepEqual(tokens.slice(inputIds.length), greedy);
      }
    });
  });
}

/** Compiles a model's eager graph with its layers and router choices as further outputs. */
async function withEagerProgram(
  golden: GoldenModel,
  body: (program: Program, layers: number) => Promise<void>,
): Promise<void> {
  const model = await golden.open();
  const executor = openCpuExecutor();
  try {
    const { graph } = model.build();
    const layers = model.config.num_hidden_layers;
    for (let layer = 0; layer < layers; layer++) addProbes(graph, layer);
    const sizes = { maxTokens: 64, maxSequences: 1, pages: 0, maxPagesPerSequence: 0 };
    await body(await executor.compile(graph, { source: model.checkpoint, ...sizes }), layers);
  } finally {
    executor.dispose();
    await model.checkpoint.close();
  }
}

function addProbes(graph: Graph, layer: number): void {
  const scope = `model.layers.${layer}`;
  const output = graph.nodes.findLast((node) => node.scope === scope)?.outputs[0];
  assert.ok(output, `no node in ${scope}`);
  graph.setOutput(`hidden.${layer}`, output);
  const selected = selectedExperts(graph, scope);
  if (selected) graph.setOutput(`router.${layer}.ids`, selected);
}

/** The expert numbers that the loop over experts of a layer turns into a mask. */
function selectedExperts(graph: Graph, scope: string): Value | undefined {
  const node = graph.nodes.find((each) =>
    isOp(each, "one_hot") && each.scope.startsWith(`${scope}.`)
  );
  return node && optionalInput(node, "ids");
}

function feeds({ inputIds }: GoldenPrompt) {
  return { token_ids: inputIds, positions: inputIds.map((_, position) => position) };
}

function compare(got: ArrayLike<number>, prompt: GoldenPrompt, name: string): void {
  const expected = prompt.numbers(name);
  assert.ok(expected, `${prompt.name} has no ${name}`);
  const error = relativeError(got, expected);
  assert.ok(error <= TOLERANCES.logitsF32, `${prompt.name}.${name} is off by ${error}`);
}

function sortedRows(ids: ArrayLike<number>, width: number): number[] {
  const rows = Array.from(
    { length: ids.length / width },
    (_, row) => Array.from(ids).slice(row * width, (row + 1) * width),
  );
  return rows.flatMap((row) => row.sort((a, b) => a - b));
}

function wholeSequence(tokens: readonly number[]): StepRequest {
  return {
    tokenIds: Int32Array.from(tokens),
    positions: Int32Array.from(tokens.keys()),
    sequenceIds: new Int32Array(tokens.length),
    blockTable: { data: new Int32Array(0), sequences: 1, pages: 0 },
    logitsRows: Int32Array.of(tokens.length - 1),
    want: [GREEDY],
    repeat: 1,
  };
}
