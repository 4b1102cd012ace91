/**
 * `inspect`: what a model is, and what the transforms make of its graph. Reads weights for
 * `weights --stats` and `report` alone.
 *
 * @module
 */

import { Argument } from "../deps/commander.ts";
import { ConfigError } from "../graph/mod.ts";
import { loadModel, type Model } from "../models/mod.ts";
import { showDiff } from "./changes_view.ts";
import { checkOutputFolder } from "../runtime/mod.ts";
import type { CommandContext } from "./command.ts";
import { requireModel } from "./bundled_model.ts";
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
import { ByteProgress } from "./progress.ts";
import { listWeights, type WeightFlags } from "./weights_view.ts";

/** What can be shown. */
const SUBJECTS = ["model", "weights", "tensors", "transforms", "graph", "costs", "report"] as const;

/** The command. */
export function inspectCommand(context: CommandContext) {
  return modelCommand("inspect", "Show a model and what the transforms make of its graph")
    .addArgument(
      new Argument("[subject]", "what to show").choices(SUBJECTS).default("model" as const),
    )
    .option("--diff <transform>", "show what this transform changes in the graph")
    .option("--at <transform>", "print the graph after this transform (default: the last one)")
    .option("--dot", "print the graph in Graphviz's language")
    .option("--weights", "print the graph with the expression of every weight")
    .option("--only <glob>", "weights of these names alone, such as '*.experts.*'")
    .option("--stats", "read all weights: their range, NaN, and what f16 cannot hold")
    .option("-o, --out <folder>", "where the report goes (default: graphs)")
    .option(
      "--tokens <n>",
      "tokens of the step whose costs are counted (default: 1)",
      countFlag("--tokens", 1),
    )
    .action((subject, flags) => inspect(subject, flags, context));
}

type Subjects = typeof SUBJECTS[number];

type Flags = ModelFlags & InspectFlags & WeightFlags & { diff?: string; out?: string };

/** Subjects that each flag of this command is for. */
const FLAG_SUBJECTS: Readonly<Record<string, readonly Subjects[]>> = {
  at: ["graph"],
  dot: ["graph"],
  weights: ["graph"],
  diff: ["graph", "transforms"],
  only: ["weights"],
  stats: ["weights"],
  out: ["report"],
  tokens: ["costs"],
};

async function inspect(
  subject: Subjects,
  flags: Flags,
  context: CommandContext,
): Promise<void> {
  // `inspect --diff fuse_moe` needs no subject.
  const wanted = flags.diff !== undefined && subject === "model" ? "transforms" : subject;
  checkFlags(wanted, flags);
  if (wanted === "report") return await writeReportPage(flags, context);
  const { terminal, signal } = context;
  const resolved = configure(flags).resolve();
  await requireModel("inspect", resolved.settings.model);
  for (const note of resolved.notes) terminal.progress(`note: ${note}`);
  const view = new DeployView(terminal);
  const model = await loadModel(resolved.settings.model ?? "", {
    signal,
    onProgress: (done) => view.show({ kind: "download", ...done }),
  });
  try {
    const graphSubject = { resolved, model, signal };
    const { diff } = flags;
    const views = {
      model: () => describeModel(graphSubject),
      weights: () => showWeights(model, flags, context),
      tensors: () => listTensors(model),
      transforms: () =>
        diff === undefined
          ? listTransforms(graphSubject)
          : showDiff(graphSubject, diff, terminal.resultStyle),
      graph: () =>
        diff === undefined
          ? showGraph(graphSubject, flags)
          : showDiff(graphSubject, diff, terminal.resultStyle),
      costs: () => listCosts(graphSubject, flags),
    };
    const { document, text } = await views[wanted]();
    terminal.result(terminal.json ? `${JSON.stringify(document, null, 2)}\n` : text);
  } finally {
    await model.checkpoint.close();
  }
}

/** A flag that the subject does not know must not be taken for one that had an effect. */
function checkFlags(subject: Subjects, flags: Flags): void {
  for (const [name, subjects] of Object.entries(FLAG_SUBJECTS)) {
    if (Reflect.get(flags, name) === undefined || subjects.includes(subject)) continue;
    throw new ConfigError(
      "cli/invalid-value",
      `Cannot read flag "--${name}": expected subject ${subjects.join(" or ")}, got ${subject}`,
      { hint: `Write: inspect ${subjects[0]} --${name}`, details: { flag: `--${name}` } },
    );
  }
}

async function showWeights(model: Model, flags: Flags, { terminal, signal }: CommandContext) {
  const progress = new ByteProgress(terminal, "weights");
  try {
    return await listWeights(model, flags, {
      signal,
      onProgress: (done, total) => progress.update(done, total),
    });
  } finally {
    progress.close();
  }
}

/** Deploys the model, which writes the page, and closes it. */
async function writeReportPage(flags: Flags, { terminal, signal }: CommandContext): Promise<void> {
  const folder = flags.out ?? "graphs";
  const pipeline = configure(flags);
  await requireModel("inspect report", pipeline.resolve().settings.model);
  checkOutputFolder(folder);
  const view = new DeployView(terminal);
  try {
    await using engine = await pipeline
      .visualizeNamespace({ enabled: true, skip_on_error: false, folder, formats: ["html"] })
      .deploy({ signal, onProgress: (event) => view.show(event) });
    const { report } = engine;
    terminal.result(`${terminal.json ? JSON.stringify(report, null, 2) : report.page}\n`);
  } finally {
    view.close();
  }
}
