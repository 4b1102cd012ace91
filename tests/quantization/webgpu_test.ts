/** Packed checkpoints through the default pipeline on WebGPU, against transformers. */

import assert from "node:assert/strict";
import type { Graph } from "../../graph/mod.ts";
import type { WebGpuExecutor } from "../../runtime/mod.ts";
import { webgpuTest, withExecutor } from "../support/adapter.ts";
import {
  cutLayer,
  CUTTABLE,
  fusedLayers,
  packedGraph,
  type PackedModel,
  withBackend,
  withPackedModel,
} from "../support/quantized_models.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";

const PAGE_SIZE = 16;

/** Tokens of the last steps, one in each: what decoding does. */
const DECODED = 3;

/** Logits of the prompt: most of it in one step, its last tokens one by one. */
async function logitsOnGpu(
  executor: WebGpuExecutor,
  graph: Graph,
  { model, prompt }: PackedModel,
): Promise<number[]> {
  const tokens = prompt.length;
  const pages = Math.ceil(tokens / PAGE_SIZE);
  const range = (start: number, end: number) =>
    Int32Array.from({ length: end - start }, (_, i) => start + i);
  const program = await executor.compile(graph, {
    source: model.checkpoint,
    maxTokens: tokens,
    maxSequences: 1,
    pages,
    maxPagesPerSequence: pages,
  });
  const all: number[] = [];
  try {
    const ends = [tokens - DECODED, ...range(tokens - DECODED + 1, tokens + 1)];
    for (const [i, end] of ends.entries()) {
      const start = i === 0 ? 0 : ends[i - 1];
      const { logits } = await program.step({
        tokenIds: Int32Array.from(prompt.slice(start, end)),
        positions: range(start, end),
        sequenceIds: new Int32Array(end - start),
        blockTable: { data: range(0, pages), sequences: 1, pages },
        logitsRows: range(0, end - start),
        want: "logits",
        repeat: 1,
      });
      assert.ok(logits);
      for (const logit of logits) all.push(logit);
    }
    return all;
  } finally {
    program.dispose();
  }
}

const MODELS = [
  "gpt_oss",
  "quantized/gpt_oss_mxfp4",
  "quantized/qwen3_moe_fp8_block32",
  "quantized/qwen3_moe_fp8_block128",
];

for (const backend of ["triton", "trtllm"]) {
  for (const name of MODELS) {
    webgpuTest(`${name} gives transformers' logits with ${backend}`, async () => {
      await withExecutor({}, async (executor) => {
        await withPackedModel(name, async (opened) => {
          const { graph } = await packedGraph(opened.model, withBackend(backend));
          assert.ok(fusedLayers(graph).every(({ attrs }) => attrs.backend === backend));
          const logits = await logitsOnGpu(executor, graph, opened);
          const error = relativeError(logits, opened.golden("logits"));
          assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
        });
      });
    });
  }

  webgpuTest(`ModelOpt FP8 layers give the reference's results with ${backend}`, async () => {
    await withExecutor({}, async (executor) => {
      await withPackedModel("quantized/mixtral_fp8_modelopt", async ({ model, prompt, golden }) => {
        const { graph } = await packedGraph(model, withBackend(backend, CUTTABLE));
        for (const layer of fusedLayers(graph).keys()) {
          const program = await executor.compile(cutLayer(graph, layer), {
            source: model.checkpoint,
            ...{ maxTokens: prompt.length, maxSequences: 1, pages: 0, maxPagesPerSequence: 1 },
          });
          const x = Float32Array.from(golden(`moe.${layer}.in`));
          const { y } = await program.run({ x }, { T: prompt.length });
          const error = relativeError(y, golden(`moe.${layer}.out`));
          assert.ok(error <= TOLERANCES.moeF32, `layer ${layer} is off by ${error}`);
          program.dispose();
        }
      });
    });
  });
}
