/**
 * Golden models of latent attention whose prompts take the expanded form, against transformers: at once,
 * in chunks, whose contexts are expanded anew, and token by token, with each backend.
 */

import assert from "node:assert/strict";
import { isOp } from "../graph/mod.ts";
import { webgpuTest } from "./support/adapter.ts";
import { checkModel } from "./support/check_golden.ts";
import { withGoldenModel } from "./support/golden_folders.ts";
import { fusedGraph } from "./support/golden_steps.ts";
import { GoldenValues } from "./support/golden_values.ts";
import { withBackend } from "./support/quantized_models.ts";
import { withSharedExecutor } from "./support/shared_executor.ts";

const MODELS = ["deepseek_v2", "deepseek_v2_grouped", "deepseek_v3", "glm4_moe_lite"] as const;
const BACKENDS = ["triton", "trtllm"] as const;
/** These models are so small that the arithmetic is never less. */
const EXPANDED = { insert_cached_mla_attention: { expand_from: 2 } };

webgpuTest(
  "golden models whose prompts are expanded give transformers' logits, experts and greedy tokens",
  async (t) => {
    await withSharedExecutor(async (executor) => {
      const target = { executor: "webgpu", profile: executor.device.profile } as const;
      for (const name of MODELS) {
        const golden = await GoldenValues.of(name);
        for (const backend of BACKENDS) {
          await t.step(
            `${name} with ${backend}`,
            () =>
              withGoldenModel(name, "hub", async (model) => {
                const graph = await fusedGraph(model, target, withBackend(backend, EXPANDED));
                const layers = graph.nodes.filter((node) => isOp(node, "cached_mla_attention"));
                assert.ok(layers.length > 0);
                assert.ok(layers.every(({ attrs }) => attrs.expandFrom === 2));
                await checkModel(executor, graph, model, golden);
              }),
          );
        }
      }
    });
  },
);
