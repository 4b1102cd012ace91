/**
 * Every golden model against transformers: logits, chosen experts and greedy tokens, prompts at once, in
 * chunks and token by token, through the public pipeline on the CPU, and fused for WebGPU with each
 * backend; on WebGPU also the blocks with experts alone.
 */

import assert from "node:assert/strict";
import type { WebGpuExecutor } from "../runtime/webgpu/executor.ts";
import { webgpuTest, withExecutor } from "./support/adapter.ts";
import { blocksOf, checkBlocks, checkModel } from "./support/check_golden.ts";
import { type Form, formsOf, withGoldenModel } from "./support/golden_folders.ts";
import { fusedGraph } from "./support/golden_steps.ts";
import { checkEngine } from "./support/golden_engine.ts";
import { GoldenValues } from "./support/golden_values.ts";
import { fusedLayers, withBackend } from "./support/quantized_models.ts";
import { IS_QUICK } from "./support/quick.ts";
import { VERIFIED_MODELS } from "./support/verified_models.ts";

const BACKENDS = ["triton", "trtllm"] as const;

/** Tokens of the largest step, and the prompts that are tried with it. */
const CPU_RUNS: readonly (readonly [number, readonly string[]])[] = IS_QUICK
  ? [[5, ["p0", "p1", "p2"]]]
  : [[64, ["p0", "p1", "p2"]], [5, ["p0", "p1", "p2"]], [1, ["p1"]]];

for (const name of Object.keys(VERIFIED_MODELS)) {
  Deno.test(`${name} on the CPU gives transformers' logits and greedy tokens`, async () => {
    const golden = await GoldenValues.of(name);
    for (const [maxNumTokens, prompts] of CPU_RUNS) {
      const place = { executor: "cpu", backend: "auto", maxNumTokens } as const;
      const known = prompts.filter((each) => golden.prompts.includes(each));
      await checkEngine(name, golden, place, known);
    }
  });
}

/** The backends take turns over the forms of a model, so that each form reaches the device. */
function formOf(name: string, index: number): Form {
  const forms = formsOf(name);
  return forms[index % forms.length] ?? "hub";
}

async function checkOnDevice(
  executor: WebGpuExecutor,
  name: string,
  form: Form,
  backend: (typeof BACKENDS)[number],
): Promise<void> {
  const golden = await GoldenValues.of(name);
  const target = { executor: "webgpu", profile: executor.device.profile } as const;
  await withGoldenModel(name, form, async (model) => {
    const graph = await fusedGraph(model, target, withBackend(backend));
    assert.ok(fusedLayers(graph).every(({ attrs }) => attrs.backend === backend));
    await checkModel(executor, graph, model, golden);
    if (!VERIFIED_MODELS[name].inside) return;
    const blocks = await fusedGraph(blocksOf(model), target, withBackend(backend));
    assert.equal(fusedLayers(blocks).length, golden.outputs.length);
    // Sizes in the ranges of the steps above, whose shaders are there already.
    await checkBlocks(executor, blocks, model, golden, [1, 5, 39]);
  });
}

// One device for all: models of the same sizes share its compiled shaders.
webgpuTest(
  "golden models on WebGPU give transformers' logits, experts and greedy tokens",
  async (t) => {
    await withExecutor({ selfTest: false }, async (executor) => {
      for (const name of Object.keys(VERIFIED_MODELS)) {
        for (const [i, backend] of BACKENDS.entries()) {
          const form = formOf(name, i);
          await t.step(
            `${name} with ${backend}, ${form} files`,
            () => checkOnDevice(executor, name, form, backend),
          );
        }
      }
    });
  },
);
