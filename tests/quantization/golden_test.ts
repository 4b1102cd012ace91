/** Packed checkpoints through the default pipeline on the CPU, against transformers. */

import assert from "node:assert/strict";
import type { Graph } from "../../graph/mod.ts";
import { openCpuExecutor } from "../../runtime/mod.ts";
import { logitsOf } from "../support/language_model.ts";
import {
  type Changes,
  cutLayer,
  CUTTABLE,
  fusedLayers,
  packedGraph,
  type PackedModel,
  withPackedModel,
} from "../support/quantized_models.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";

/** Models whose logits mean something, and what their experts are read as. */
const EXACT = [
  ["quantized/qwen3_moe_fp8_block32", "fp8_block", [32, 32]],
  ["quantized/qwen3_moe_fp8_block128", "fp8_block", [128, 128]],
  ["quantized/gpt_oss_mxfp4", "mxfp4", undefined],
] as const;

for (const [name, format, block] of EXACT) {
  Deno.test(`${name} keeps its format and gives transformers' logits`, async () => {
    await withPackedModel(name, async ({ model, prompt, golden }) => {
      const { graph, records } = await packedGraph(model);
      for (const { attrs } of fusedLayers(graph)) {
        assert.deepEqual([attrs.format, attrs.block, attrs.activationQuant], [
          format,
          block,
          "none",
        ]);
      }
      assert.equal(fusedLayers(graph).length, model.config.num_hidden_layers);
      assert.doesNotMatch(records.load_weights.notes.join(), /Not read/);
      const logits = await logitsOf(graph, model.checkpoint, prompt);
      const error = relativeError(logits, golden("logits"));
      assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
    });
  });
}

Deno.test("block-FP8 linear layers keep their format too", async () => {
  await withPackedModel("quantized/qwen3_moe_fp8_block32", async ({ model }) => {
    const { graph } = await packedGraph(model);
    const formats = new Set(
      graph.nodes.flatMap((node) =>
        node.op === "fused_linear" && !node.scope.includes("lm_head")
          ? [Reflect.get(node.attrs, "format")]
          : []
      ),
    );
    assert.deepEqual(formats, new Set(["fp8_block"]));
  });
});

async function layerOnCpu(graph: Graph, { model, golden, prompt }: PackedModel, layer: number) {
  const executor = openCpuExecutor();
  try {
    const program = await executor.compile(cutLayer(graph, layer), {
      source: model.checkpoint,
      ...{ maxTokens: prompt.length, maxSequences: 1, pages: 0, maxPagesPerSequence: 1 },
    });
    const x = Float32Array.from(golden(`moe.${layer}.in`));
    const { y } = await program.run({ x }, { T: prompt.length });
    return relativeError(y, golden(`moe.${layer}.out`));
  } finally {
    executor.dispose();
  }
}

Deno.test("ModelOpt FP8 experts give the reference's results layer by layer", async () => {
  await withPackedModel("quantized/mixtral_fp8_modelopt", async (opened) => {
    const { graph } = await packedGraph(opened.model, CUTTABLE);
    const layers = fusedLayers(graph);
    assert.equal(layers.length, 2);
    for (const [l, { attrs }] of layers.entries()) {
      assert.deepEqual([attrs.format, attrs.activationQuant], ["fp8_e4m3", "static"]);
      const error = await layerOnCpu(graph, opened, l);
      assert.ok(error <= TOLERANCES.moeF32, `layer ${l} is off by ${error}`);
    }
  });
});

Deno.test("ModelOpt FP8 experts are off without their rounding, or with one scale for all", async () => {
  await withPackedModel("quantized/mixtral_fp8_modelopt", async (opened) => {
    const readings: Changes[] = [
      { quantize_fp8_moe: { activation_quant: "none" } },
      { quantize_fp8_moe: { activation_quant: "dynamic" } },
      { fuse_fp8_moe: { input_scale_policy: "max" } },
    ];
    for (const changes of readings) {
      const { graph } = await packedGraph(opened.model, { ...CUTTABLE, ...changes });
      const error = await layerOnCpu(graph, opened, 0);
      // Other readings of the same file: near, but not the reference.
      assert.ok(error > 1e-3 && error < 0.2, `${JSON.stringify(changes)} is off by ${error}`);
    }
  });
});
