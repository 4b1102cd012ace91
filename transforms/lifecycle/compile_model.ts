/**
 * `compile_model`: checks that the graph can be compiled, and notes the ranges of step sizes for which
 * the runtime prepares a list of dispatches each.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { labelNode, MOE_OPERANDS } from "../../graph/mod.ts";
import { missingCaches } from "../cache/cache_meta.ts";
import { accepted } from "../core/accepted.ts";
import { defaultsToSetting } from "../core/setting_default.ts";
import { defineTransform } from "../core/transform.ts";

const BACKENDS = [
  "auto",
  "torch-simple",
  "torch-compile",
  "torch-cudagraph",
  "torch-opt",
] as const;

const counts = z.array(z.int().min(1)).nullable().default(null);

/** See the module's documentation. */
export const compileModel = defineTransform({
  key: "compile_model",
  stage: "compile",
  summary: "Set the step sizes for which the runtime prepares dispatches",
  base: { run_per_gm: false },
  config: z.object({
    backend: z.enum(BACKENDS).default("auto").describe(
      accepted("pipelines and bind groups are always prepared ahead"),
    ),
    token_ranges: counts.describe(
      "Largest step of each range of tokens that gets its own dispatches; null is 1, 8, 32, 128, ..",
    ),
    cuda_graph_batch_sizes: counts.describe(
      "AutoDeploy's name for token_ranges; used when token_ranges is null",
    ),
    operands: defaultsToSetting(
      "operands",
      z.enum(MOE_OPERANDS).default("f32").describe(
        "Type of the operands of dense layers and attention for many tokens on WebGPU: f16 and auto are f16 where that means tensor cores, with sums in f32, and f32 elsewhere",
      ),
    ),
    num_batched_inputs: z.int().default(2).describe(accepted()),
    piecewise_enabled: z.boolean().default(false).describe(accepted()),
    piecewise_num_tokens: counts.describe(accepted()),
  }),
  plan(graph, config, { log }) {
    const refusals = missingCaches(graph).map((node) => ({
      node: labelNode(node),
      reason: "it has no cache; enable initialize_cache",
    }));
    const notes = config.backend === "auto" ? [] : [
      `backend "${config.backend}" names a PyTorch compiler: WebGPU dispatches are always prepared`,
    ];
    notes.forEach((note) => log(`compile_model: ${note}`));
    return { matches: [graph.name], refusals, notes };
  },
  apply(graph, _plan, config) {
    const ranges = config.token_ranges ?? config.cuda_graph_batch_sizes;
    graph.setMeta("compile", {
      token_ranges: ranges?.toSorted((a, b) => a - b) ?? [],
      ...(config.operands !== "f32" && { operands: config.operands }),
    });
  },
});
