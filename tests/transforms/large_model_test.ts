import assert from "node:assert/strict";
import { isOp, printGraph } from "../../graph/mod.ts";
import { optimize } from "../../transforms/mod.ts";
import { cpuTimer } from "../support/cpu_time.ts";
import { openBareModel } from "../support/bare_model.ts";
import { defaultSteps } from "../support/language_model.ts";
import { slowTest } from "../support/quick.ts";
import { writeSyntheticModel } from "../support/synthetic_model.ts";

/** Layers and experts of Qwen3-30B-A3B; the sizes of its matrices do not matter to transforms. */
const SIZES = {
  layers: 48,
  experts: 128,
  topK: 8,
  hidden: 16,
  intermediate: 8,
  vocabulary: 64,
};

slowTest("the default pipeline fuses 48 layers of 128 experts in seconds", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await writeSyntheticModel(folder, SIZES);
    const model = await openBareModel(folder);
    const computed = cpuTimer();
    const { graph, history } = await optimize({
      steps: await defaultSteps(),
      context: {
        model,
        target: { executor: "cpu" },
        settings: { maxSeqLen: 512, maxBatchSize: 8, maxNumTokens: 512 },
        log() {},
      },
    });
    const seconds = computed() / 1000;
    await model.checkpoint.close();
    assert.ok(seconds < 10, `took ${seconds.toFixed(1)} s`);
    const [eager] = history.filter(({ key }) => key === "export_to_gm");
    assert.ok(eager.nodesAfter > 70_000, `only ${eager.nodesAfter} nodes`);
    const layers = graph.nodes.filter((node) => isOp(node, "fused_moe"));
    assert.equal(layers.length, SIZES.layers);
    assert.equal(graph.nodes.length, 5 * SIZES.layers + 3);
    assert.ok(printGraph(graph).length < 500_000);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
