/**
 * `inspect`: what a model is, and what the transforms make of its graph. Reads no weights.
 *
 * @module
 */

import { Argument } from "../deps/commander.ts";
import { loadModel } from "../models/mod.ts";
import type { CommandContext } from "./command.ts";
import { configure } from "./configure.ts";
import { countFlag } from "./flags.ts";
import { modelCommand, type ModelFlags } from "./deploy_flags.ts";
import { DeployView } from "./deploy_view.ts";
import {
  type InspectFlags,
  listCosts,
  listTensors,
  listTransforms,
  showGraph,
} from "./inspect_views.ts";
import { describeModel } from "./model_view.ts";

/** What can be shown. */
const SUBJECTS = ["model", "tensors", "transforms", "graph", "costs"] as const;

/** The command. */
export function inspectCommand(context: CommandContext) {
  return modelCommand("inspect", "Show a model and what the transforms make of its graph")
    .addArgument(
      new Argument("[subject]", "what to show").choices(SUBJECTS).default("model" as const),
    )
    .option("--at <transform>", "print the graph after this transform (default: the last one)")
    .option("--dot", "print the graph in Graphviz's language")
    .option("--weights", "print the graph with the expression of every weight")
    .option(
      "--tokens <n>",
      "tokens of the step whose costs are counted",
      countFlag("--tokens", 1),
      1,
    )
    .action((subject, flags) => inspect(subject, flags, context));
}

async function inspect(
  subject: typeof SUBJECTS[number],
  flags: ModelFlags & InspectFlags,
  { terminal, signal }: CommandContext,
): Promise<void> {
  const resolved = configure(flags).resolve();
  for (const note of resolved.notes) terminal.progress(`note: ${note}`);
  const view = new DeployView(terminal);
  const model = await loadModel(resolved.settings.model ?? "", {
    signal,
    onProgress: (done) => view.show({ kind: "download", ...done }),
  });
  try {
    const views = {
      model: () => describeModel(model),
      tensors: () => listTensors(model),
      transforms: () => listTransforms({ resolved, model, signal }),
      graph: () => showGraph({ resolved, model, signal }, flags),
      costs: () => listCosts({ resolved, model, signal }, flags),
    };
    const { document, text } = await views[subject]();
    terminal.result(terminal.json ? `${JSON.stringify(document, null, 2)}\n` : text);
  } finally {
    await model.checkpoint.close();
  }
}
