/**
 * `tune`: measures the kernels of a model's layers on this device and writes tables that later
 * deployments read.
 *
 * @module
 */

import { join } from "node:path";
import { Option } from "../deps/commander.ts";
import { ConfigError, MOE_ACTIVATIONS, MOE_OPERANDS, WEIGHT_FORMATS } from "../graph/mod.ts";
import {
  type Ceilings,
  checkOutputFile,
  checkOutputFolder,
  measureCeilings,
  openDevice,
  TUNED_DIR_VARIABLE,
  tunedTokens,
  userTunedFolder,
  USUAL_CANDIDATES,
  type WebGpuDevice,
  writeTunedRow,
} from "../runtime/mod.ts";
import type { CommandContext } from "./command.ts";
import { requireModel } from "./bundled_model.ts";
import { configure } from "./configure.ts";
import { modelCommand } from "./deploy_flags.ts";
import { countFlag } from "./flags.ts";
import {
  modelTargets,
  numbers,
  shapeTarget,
  type Target,
  TUNE_KINDS,
  type TuneFlags,
} from "./tune_targets.ts";
import { TuneView } from "./tune_view.ts";

/** Numbers of tokens that are measured; a row serves steps of half to twice as many. */
const DEFAULT_TOKENS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/** The command. */
export function tuneCommand(context: CommandContext) {
  return modelCommand("tune", "Measure sizes of a model's kernels and write tuned tables")
    .option("--shape <H,I,E,K>", "a layer by its sizes instead of a model's layers")
    .addOption(
      new Option(
        "--only <kind...>",
        "of a model: its experts, linear layers, attention (default: all)",
      )
        .choices(TUNE_KINDS),
    )
    .addOption(new Option("--format <name>", "weights of --shape").choices(WEIGHT_FORMATS))
    .addOption(new Option("--activation <name>", "experts of --shape").choices(MOE_ACTIVATIONS))
    .addOption(new Option("--operands <name>", "operands of --shape").choices(MOE_OPERANDS))
    .option("--tokens <list>", `tokens per step (default: ${DEFAULT_TOKENS.join(",")})`)
    .option("--out <dir>", `folder for the tables (default: $${TUNED_DIR_VARIABLE}, or ./tuned)`)
    .option(
      "--candidates <n>",
      `most candidates per round (default: ${USUAL_CANDIDATES} of dense layers and attention, all of experts)`,
      countFlag("--candidates", 1),
    )
    .option("--force", "measure rows again that the tables already have")
    .action((flags) => tune(flags, context));
}

async function tune(flags: TuneFlags, context: CommandContext): Promise<void> {
  const { terminal, signal } = context;
  const tokens = flags.tokens === undefined
    ? DEFAULT_TOKENS
    : numbers("--tokens", flags.tokens, undefined);
  refuseCpu(flags.executor);
  const folder = flags.out ?? userTunedFolder() ?? "tuned";
  const { model, webgpu } = configure(flags).resolve().settings;
  if (flags.shape === undefined) await requireModel("tune", model);
  checkOutputFolder(folder);
  const device = await openDevice({ webgpu });
  try {
    const targets = flags.shape === undefined
      ? await modelTargets(flags, device, context)
      : [shapeTarget(flags, flags.shape, device)];
    for (const { file } of targets) checkOutputFile(join(folder, file));
    const ceilings = await measureCeilings(device);
    const view = new TuneView(terminal, device.profile.description, ceilings);
    const tables = [];
    for (const target of targets) {
      tables.push(
        await tuneTarget(target, tokens, folder, { flags, device, ceilings, view, signal }),
      );
    }
    if (terminal.json) {
      const document = { device: device.profile, ceilings, tables };
      terminal.result(`${JSON.stringify(document, null, 2)}\n`);
    }
  } finally {
    device.close();
  }
}

/** Tables are for kernels of a GPU. */
function refuseCpu(executor: string | undefined): void {
  if (executor !== "cpu") return;
  throw new ConfigError(
    "cli/invalid-value",
    'Cannot tune with flag "--executor": expected auto or webgpu, got cpu',
    { hint: "Tune on the machine that has the GPU: the CPU reads no tables" },
  );
}

interface Surroundings {
  readonly flags: TuneFlags;
  readonly device: WebGpuDevice;
  readonly ceilings: Ceilings;
  readonly view: TuneView;
  readonly signal: AbortSignal;
}

async function tuneTarget(
  target: Target,
  tokens: readonly number[],
  folder: string,
  { flags, device, ceilings, view, signal }: Surroundings,
) {
  const { file } = target;
  const known = flags.force ? [] : tunedTokens(folder, file);
  const wanted = tokens.filter((count) => target.serves(count));
  const rest = wanted.filter((count) => !known.includes(count));
  view.table(file, folder, wanted.length - rest.length, rest.length);
  const rows: object[] = [];
  for (const count of rest) {
    const measured = await target.measure(count, {
      ...{ device, ceilings, signal },
      ...(flags.candidates && { candidates: flags.candidates }),
      onProgress: (step) => view.progress(step),
    });
    // Written after each number of tokens, so that an interruption loses only one.
    writeTunedRow(folder, file, count, measured.rows);
    view.row(count, measured.line);
    rows.push(measured.facts);
  }
  return { file, folder, rows };
}
