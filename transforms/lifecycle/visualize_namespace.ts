/**
 * `visualize_namespace`: writes the graph as it is at this stage to a folder, as text and for
 * Graphviz. A folder that cannot be written is reported and does not stop the pipeline.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { graphToDot, printGraph } from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";

const WRITERS = { text: printGraph, dot: graphToDot };
const EXTENSIONS = { text: "txt", dot: "dot" };

/** See the module's documentation. */
export const visualizeNamespace = defineTransform({
  key: "visualize_namespace",
  stage: "visualize",
  summary: "Write the graph as text and DOT to a folder",
  base: { enabled: false, skip_on_error: true },
  config: z.object({
    folder: z.string().default("graphs").describe("Folder for the files, made when absent"),
    formats: z.array(z.enum(["text", "dot"])).default(["text", "dot"]).describe(
      "Forms to write: the listing, Graphviz",
    ),
  }),
  plan: (_graph, config) => ({
    matches: config.formats,
    notes: [`Written to "${config.folder}"`],
  }),
  async apply(graph, plan, config) {
    await Deno.mkdir(config.folder, { recursive: true });
    const name = graph.name.replaceAll(/[^\w.-]+/g, "_");
    for (const format of plan.matches) {
      const path = `${config.folder}/${name}.${EXTENSIONS[format]}`;
      await Deno.writeTextFile(path, WRITERS[format](graph));
    }
  },
});
