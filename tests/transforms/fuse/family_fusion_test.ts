/** What the transforms make of every family: nothing of experts and attention stays as it was. */

import assert from "node:assert/strict";
import type { Graph } from "../../../graph/mod.ts";
import { optimize } from "../../../transforms/mod.ts";
import { openBareModel } from "../../support/bare_model.ts";
import { defaultSteps } from "../../support/language_model.ts";

/** Ops of eager blocks, which fused graphs have no more. */
const EAGER = [
  ...["attention", "attention_mask", "bmm", "index_add", "one_hot", "scatter", "topk"],
  ...["rope", "cos", "sin", "silu", "softmax", "sigmoid"],
];

/** Eager ops that stay, by family. */
const STAYING: Readonly<Record<string, readonly string[]>> = {
  // The gate of its attention.
  afmoe: ["sigmoid"],
  dbrx: [],
  deepseek_v2: [],
  deepseek_v2_grouped: [],
  deepseek_v3: [],
  dots1: [],
  ernie4_5_moe: [],
  exaone_moe: [],
  gemma4: [],
  glm4_moe: [],
  glm4_moe_lite: [],
  granitemoe: [],
  granitemoeshared: [],
  // It norms q and k after they are turned.
  hunyuan_v1_moe: ["rope"],
  hy_v3: [],
  // It norms q and k after they are turned, and scales q then.
  llama4_text: ["rope"],
  mimo_v2_flash: [],
  minimax_m2: [],
  phimoe: [],
  phimoe_longrope: [],
  // The gate of a shared expert whose size is no multiple of the others'.
  qwen2_moe: ["sigmoid"],
  qwen3_moe_longrope: [],
  solar_open: [],
};

async function fused(name: string): Promise<{ graph: Graph; layers: number }> {
  const model = await openBareModel(new URL(`../../golden/${name}`, import.meta.url).pathname);
  try {
    const { graph } = await optimize({
      steps: await defaultSteps(),
      context: {
        model,
        target: { executor: "cpu" },
        settings: { maxSeqLen: 64, maxBatchSize: 1, maxNumTokens: 64 },
        log() {},
      },
    });
    return { graph, layers: model.config.num_hidden_layers };
  } finally {
    await model.checkpoint.close();
  }
}

for (const [name, staying] of Object.entries(STAYING)) {
  Deno.test(`experts and attention of ${name} are fused`, async () => {
    const { graph, layers } = await fused(name);
    const left = EAGER.filter((op) => graph.nodes.some((node) => node.op === op));
    assert.deepEqual(left, staying);
    assert.equal(graph.caches.length, layers);
    assert.ok(graph.nodes.some(({ op }) => op === "fused_moe"));
  });
}
