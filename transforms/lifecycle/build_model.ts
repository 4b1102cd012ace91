/**
 * `build_model`: chooses the architecture that config.json names. It reads no weights.
 *
 * Before: an empty graph. After: an empty graph with the note
 * ```text
 * model: { name: "storyteller", architecture: "qwen3_moe", layers: 6, .. }
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { accepted } from "../core/accepted.ts";
import { defineTransform } from "../core/transform.ts";

/** See the module's documentation. */
export const buildModel = defineTransform({
  key: "build_model",
  stage: "factory",
  summary: "Choose the architecture that config.json names",
  base: { run_per_gm: false, requires_clean_graph: false },
  config: z.object({
    use_strict_forward: z.boolean().default(true).describe(accepted()),
  }),
  plan(_graph, _config, { model }) {
    const { architecture, config } = model;
    return {
      matches: [{
        name: model.name,
        architecture: architecture.name,
        layers: config.num_hidden_layers,
        hidden: config.hidden_size,
        vocabulary: config.vocab_size,
      }],
      notes: [`${config.architectures[0]} with ${config.num_hidden_layers} layers`],
    };
  },
  apply(graph, { matches: [description] }) {
    graph.setMeta("model", description);
  },
});
