import assert from "node:assert/strict";
import type { Graph, Sampling } from "../../../graph/mod.ts";
import type { Model } from "../../../models/mod.ts";
import { openCpuExecutor } from "../../../runtime/cpu/executor.ts";
import type { Program, StepRequest } from "../../../runtime/executor.ts";
import { optimize } from "../../../transforms/mod.ts";
import { type GoldenModel, goldenModels } from "../../support/golden_models.ts";
import { defaultSteps } from "../../support/language_model.ts";
import { slowTest } from "../../support/quick.ts";

const GREEDY: Sampling = {
  ...{ temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 },
};
const PAGE_SIZE = 16;
/** Pages of the longest golden sequence: 33 tokens and 16 more. */
const PAGES = Math.ceil(49 / PAGE_SIZE);

/** Sizes of all programs; longrope takes its short factors for them. */
const SIZES = { maxSeqLen: 64 };

for (const golden of await goldenModels()) {
  slowTest(
    `the eager graph of ${golden.name} continues every prompt as transformers does`,
    async () => {
      await withProgram(
        golden,
        (model) => Promise.resolve(model.build(SIZES).graph),
        async (program) => {
          for (const { inputIds, greedy } of golden.prompts) {
            const tokens = [...inputIds];
            for (let i = 0; i < greedy.length; i++) {
              const request = { ...flat([{ tokens, slot: 0, start: 0 }]), blockTable: NO_PAGES };
              tokens.push(...await sample(program, { ...request, repeat: 1 }, 1));
            }
            assert.deepEqual(tokens.slice(inputIds.length), greedy);
          }
        },
      );
    },
  );

  Deno.test(`the fused graph of ${golden.name} continues all prompts together, through the cache`, async () => {
    await withProgram(golden, fusedGraph, async (program) => {
      const { prompts } = golden;
      const first = await prefill(program, prompts.map(({ inputIds }) => [...inputIds]));
      const parts = prompts.map(({ inputIds }, slot) => ({
        tokens: [first[slot]],
        slot,
        start: inputIds.length,
      }));
      const request = {
        ...flat(parts),
        blockTable: tableOf(prompts.length),
        repeat: prompts[0].greedy.length - 1,
      };
      const more = await sample(program, request, prompts.length);
      prompts.forEach(({ greedy }, slot) => {
        const own = more.filter((_, i) => i % prompts.length === slot);
        assert.deepEqual([first[slot], ...own], greedy);
      });
    });
  });
}

/** Compiles a graph of a golden model for the CPU. */
async function withProgram(
  golden: GoldenModel,
  build: (model: Model) => Promise<Graph>,
  body: (program: Program) => Promise<void>,
): Promise<void> {
  const model = await golden.open();
  const executor = openCpuExecutor();
  try {
    const program = await executor.compile(await build(model), {
      source: model.checkpoint,
      ...{ maxTokens: 64, maxSequences: 3, pages: 3 * PAGES, maxPagesPerSequence: PAGES },
    });
    await body(program);
  } finally {
    executor.dispose();
    await model.checkpoint.close();
  }
}

async function fusedGraph(model: Model): Promise<Graph> {
  const { graph } = await optimize({
    steps: await defaultSteps({ insert_cached_attention: { cache_dtype: "f32" } }),
    context: {
      model,
      target: { executor: "cpu" },
      settings: { maxSeqLen: 64, maxBatchSize: 3, maxNumTokens: 64 },
      log() {},
    },
  });
  return graph;
}

/** Prompts in chunks of 7 tokens each, interleaved; returns the first sample of every one. */
async function prefill(program: Program, prompts: readonly number[][]): Promise<number[]> {
  const first = new Array<number>(prompts.length);
  for (let start = 0; prompts.some((prompt) => prompt.length > start); start += 7) {
    const parts = prompts.flatMap((prompt, slot) => {
      const tokens = prompt.slice(start, start + 7);
      return tokens.length > 0 ? [{ tokens, slot, start }] : [];
    });
    const request = { ...flat(parts), blockTable: tableOf(prompts.length), repeat: 1 };
    const samples = await sample(program, request, parts.length);
    parts.forEach(({ slot, tokens }, i) => {
      if (start + tokens.length === prompts[slot].length) first[slot] = samples[i];
    });
  }
  return first;
}

/** Tokens of several sequences side by side, with the last row of each wanted. */
function flat(
  parts: readonly { tokens: readonly number[]; slot: number; start: number }[],
): Pick<StepRequest, "tokenIds" | "positions" | "sequenceIds" | "logitsRows"> {
  let end = 0;
  return {
    tokenIds: Int32Array.from(parts.flatMap(({ tokens }) => tokens)),
    positions: Int32Array.from(
      parts.flatMap(({ tokens, start }) => tokens.map((_, i) => start + i)),
    ),
    sequenceIds: Int32Array.from(parts.flatMap(({ tokens, slot }) => tokens.map(() => slot))),
    logitsRows: Int32Array.from(parts, ({ tokens }) => (end += tokens.length) - 1),
  };
}

const NO_PAGES = { data: new Int32Array(0), sequences: 1, pages: 0 };

/** Pages dealt out in turn, last ones first, so that no sequence has neighbouring pages. */
function tableOf(sequences: number): StepRequest["blockTable"] {
  const data = Int32Array.from({ length: sequences * PAGES }, (_, i) => {
    const [slot, page] = [Math.floor(i / PAGES), i % PAGES];
    return sequences * PAGES - 1 - (page * sequences + slot);
  });
  return { data, sequences, pages: PAGES };
}

/** The greedy samples of a step, one round after the other. */
async function sample(
  program: Program,
  request: Omit<StepRequest, "want">,
  rows: number,
): Promise<number[]> {
  const { tokens = [] } = await program.step({ ...request, want: new Array(rows).fill(GREEDY) });
  assert.equal(tokens.length, request.repeat);
  return tokens.flatMap((round) => [...round]);
}
