/** Packed checkpoints through the default pipeline on WebGPU, against transformers. */

import assert from "node:assert/strict";
import { webgpuTest } from "../support/adapter.ts";
import { deviceLogits } from "../support/device_logits.ts";
import {
  cutLayer,
  CUTTABLE,
  fusedLayers,
  packedGraph,
  withBackend,
  withPackedModel,
} from "../support/quantized_models.ts";
import { withSharedExecutor } from "../support/shared_executor.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";

const MODELS = [
  "quantized/gpt_oss_mxfp4",
  "quantized/qwen3_moe_fp8_block32",
  "quantized/qwen3_moe_fp8_block128",
];

for (const backend of ["triton", "trtllm"]) {
  for (const name of MODELS) {
    webgpuTest(`${name} gives transformers' logits with ${backend}`, async () => {
      await withSharedExecutor(async (executor) => {
        await withPackedModel(name, async (opened) => {
          const { graph } = await packedGraph(opened.model, withBackend(backend));
          assert.ok(fusedLayers(graph).every(({ attrs }) => attrs.backend === backend));
          const { model, prompt } = opened;
          const logits = await deviceLogits(executor, graph, model.checkpoint, prompt);
          const error = relativeError(logits, opened.golden("logits"));
          assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
        });
      });
    });
  }

  webgpuTest(`ModelOpt FP8 layers give the reference's results with ${backend}`, async () => {
    await withSharedExecutor(async (executor) => {
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
