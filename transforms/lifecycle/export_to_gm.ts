/**
 * `export_to_gm`: makes the eager graph of the model: the plain operations of HF's modelling code
 * over weights that are not read yet.
 *
 * Before: an empty graph. After, for example:
 * ```text
 * graph "Qwen3MoeForCausalLM" (token_ids: i32[T], positions: i32[T])
 *   %0 = embedding(ids: token_ids, w: @model.embed_tokens.weight) : f32[T, 256]
 *   ..
 * return logits = %4711
 * ```
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { accepted } from "../core/accepted.ts";
import { defineTransform } from "../core/transform.ts";

/** Key of the graph's note about tensors of the checkpoint that the eager graph does not read. */
export const UNREAD_META = "unread_tensors";

/** See the module's documentation. */
export const exportToGm = defineTransform({
  key: "export_to_gm",
  stage: "export",
  summary: "Make the eager graph of the model",
  base: { run_per_gm: false, requires_clean_graph: false },
  config: z.object({
    strict: z.boolean().default(false).describe(accepted()),
    clone_state_dict: z.boolean().default(false).describe(accepted()),
    patch_list: z.array(z.string()).nullable().default(null).describe(
      accepted("architectures here are written out, not traced"),
    ),
  }),
  plan(graph, _config, { model, settings: { maxSeqLen } }) {
    const node = graph.name;
    const refusals = graph.meta.model === undefined
      ? [{ node, reason: "no model was built; enable build_model" }]
      : graph.nodes.length > 0
      ? [{ node, reason: `the graph has ${graph.nodes.length} nodes already` }]
      : [];
    return { matches: refusals.length > 0 ? [] : [model.build({ maxSeqLen })], refusals };
  },
  apply(graph, { matches: [eager] }) {
    const { meta } = graph;
    graph.restore(eager.graph.snapshot());
    for (const [key, note] of Object.entries(meta)) graph.setMeta(key, note);
    graph.setMeta(UNREAD_META, eager.unusedTensors);
  },
});
