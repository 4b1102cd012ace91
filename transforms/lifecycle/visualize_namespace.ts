/**
 * `visualize_namespace`: writes the graph as it is at this stage to a folder, as text and for
 * Graphviz, and asks for a report of the whole deployment as a page. A folder that cannot be written
 * is reported and does not stop the pipeline, unless `skip_on_error` is false.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { type Graph, graphToDot, printGraph } from "../../graph/mod.ts";
import { defineTransform } from "../core/transform.ts";

const WRITERS = { text: printGraph, dot: graphToDot };
const EXTENSIONS = { text: "txt", dot: "dot" };

/** A page that the graph's deployment is to write when it is ready. */
export interface WantedReport {
  readonly path: string;
  /** Whether the deployment ends when the page cannot be written (`skip_on_error: false`). */
  readonly isRequired: boolean;
  /** Text whose tokens show the load of the experts. */
  readonly sample: string;
}

/** The page that `visualize_namespace` asks for, or undefined. */
export function wantedReport(graph: Graph): WantedReport | undefined {
  return graph.meta.wanted_report as WantedReport | undefined;
}

/** See the module's documentation. */
export const visualizeNamespace = defineTransform({
  key: "visualize_namespace",
  stage: "visualize",
  summary: "Write the graph as text and DOT, and a report of the deployment as an HTML page",
  base: { enabled: false, skip_on_error: true },
  config: z.object({
    folder: z.string().default("graphs").describe("Folder for the files, made when absent"),
    formats: z.array(z.enum(["text", "dot", "html"])).default(["text", "dot", "html"]).describe(
      "What to write: the listing, Graphviz, the page (when the deployment is ready)",
    ),
    sample: z.string().min(1).default("Once upon a time, there was a little girl named Lily.")
      .describe("Text whose tokens the page uses to show how often each expert is chosen"),
  }),
  plan: (_graph, config) => ({
    matches: config.formats,
    notes: [`Written to "${config.folder}"`],
  }),
  async apply(graph, plan, config) {
    await Deno.mkdir(config.folder, { recursive: true });
    const name = graph.name.replaceAll(/[^\w.-]+/g, "_");
    for (const format of plan.matches) {
      if (format === "html") continue;
      const path = `${config.folder}/${name}.${EXTENSIONS[format]}`;
      await Deno.writeTextFile(path, WRITERS[format](graph));
    }
    if (!plan.matches.includes("html")) return;
    const report: WantedReport = {
      path: `${config.folder}/${name}.html`,
      isRequired: !config.skip_on_error,
      sample: config.sample,
    };
    graph.setMeta("wanted_report", report);
  },
});
