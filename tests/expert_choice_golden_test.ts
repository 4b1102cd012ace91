/**
 * Golden models whose experts choose from the router's logits while tokens come one by one, as on a GPU,
 * against transformers.
 */

import assert from "node:assert/strict";
import type { Graph } from "../graph/mod.ts";
import { KERNELS } from "../kernels/mod.ts";
import type { Model } from "../models/mod.ts";
import { WebGpuDevice } from "../runtime/webgpu/device/device.ts";
import { WebGpuExecutor } from "../runtime/webgpu/executor.ts";
import { compiledGraph } from "../runtime/webgpu/plan/language_model.ts";
import { lowerGraph } from "../runtime/webgpu/plan/lower.ts";
import { webgpuTest, withExecutor } from "./support/adapter.ts";
import { withGoldenModel } from "./support/golden_folders.ts";
import { compileForSteps, exposeChoices, fusedGraph, prefill } from "./support/golden_steps.ts";
import { GoldenValues } from "./support/golden_values.ts";
import { relativeError, TOLERANCES } from "./support/tolerances.ts";

/** Softmax over all and over the chosen, a bias; shared experts, and a gate of theirs; corrections. */
const MODELS = ["olmoe", "gpt_oss", "deepseek_v2", "qwen2_moe", "glm4_moe"] as const;

webgpuTest(
  "golden models whose experts choose give transformers' logits, experts and greedy tokens",
  async (t) => {
    await withExecutor({ selfTest: false }, async ({ device, readback }) => {
      const profile = { ...device.profile, software: false };
      const asGpu = new WebGpuDevice(device.gpu, profile, device.provider);
      const executor = new WebGpuExecutor(asGpu, readback, KERNELS);
      for (const name of MODELS) {
        const golden = await GoldenValues.of(name);
        await t.step(name, () =>
          withGoldenModel(name, "hub", async (model) => {
            const graph = await fusedGraph(model, { executor: "webgpu", profile });
            const { dispatches } = lowerGraph(compiledGraph(graph), {
              ...{ kernels: KERNELS, profile, tokens: { min: 1, max: 1 } },
              sizes: { T: 1, R: 1, S: 1, P: 4 },
            });
            const routers = dispatches.filter(({ op }) => op === "moe_router");
            assert.ok(routers.length > 0);
            assert.ok(routers.every(({ dispatch }) => dispatch.kernel === "router_logits"));
            await checkTokens(executor, graph, model, golden);
          }));
      }
    });
  },
);

/** The shortest prompt token by token: logits, and the experts of every layer. */
async function checkTokens(
  executor: WebGpuExecutor,
  graph: Graph,
  model: Model,
  golden: GoldenValues,
): Promise<void> {
  const choices = exposeChoices(graph);
  const program = await compileForSteps(executor, graph, model, { compileAll: false });
  const ids = golden.get("p0.input_ids");
  const { logits, named } = await prefill(program, ids, 1, choices.map(({ name }) => name));
  const error = relativeError(logits, golden.get("p0.logits"));
  assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
  for (const { layer, name } of choices) {
    const known = golden.get(`p0.router.${layer}.ids`);
    const slots = named[name].length / ids.length;
    const rows = ids.map((_, row) => named[name].slice(row * slots, (row + 1) * slots));
    // Shared experts have the numbers behind.
    const routed = rows.flatMap((row) =>
      row.toSorted((a, b) => a - b).slice(0, known.length / ids.length)
    );
    assert.deepEqual(routed, known, name);
  }
  program.dispose();
}
