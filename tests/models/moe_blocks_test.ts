/** Blocks with experts alone on the CPU, eager and fused: from transformers' inputs to its outputs. */

import assert from "node:assert/strict";
import { openCpuExecutor } from "../../runtime/mod.ts";
import { blocksOf, checkBlocks, layersOf } from "../support/check_golden.ts";
import { withGoldenModel } from "../support/golden_folders.ts";
import { fusedGraph } from "../support/golden_steps.ts";
import { GoldenValues } from "../support/golden_values.ts";
import { fusedLayers } from "../support/quantized_models.ts";
import { VERIFIED_MODELS } from "../support/verified_models.ts";

for (const [name, { inside }] of Object.entries(VERIFIED_MODELS)) {
  if (!inside) continue;
  Deno.test(`${name}'s blocks with experts give transformers' outputs, eager and fused`, async () => {
    const golden = await GoldenValues.of(name);
    await withGoldenModel(name, "hub", async (model) => {
      const blocks = blocksOf(model);
      const { graph: eager } = blocks.build({ maxSeqLen: 64 });
      const fused = await fusedGraph(blocks, { executor: "cpu" });
      assert.deepEqual(layersOf(fused).map((layer) => `p1.moe.${layer}.out`), golden.outputs);
      assert.equal(fusedLayers(fused).length, golden.outputs.length);
      const executor = openCpuExecutor();
      const tokens = golden.get("p1.input_ids").length;
      for (const graph of [eager, fused]) {
        await checkBlocks(executor, graph, model, golden, [tokens]);
      }
      executor.dispose();
    });
  });
}
