/**
 * `tune`: measures the configurations of a model's MoE layers on this device and writes tables that
 * later deployments read.
 *
 * @module
 */

import { join } from "node:path";
import { Option } from "../deps/commander.ts";
import {
  ConfigError,
  type Graph,
  isOp,
  MOE_ACTIVATIONS,
  MOE_OPERANDS,
  type MoeOperands,
  WEIGHT_FORMATS,
  type WeightFormat,
} from "../graph/mod.ts";
import { BUILTIN_BACKENDS, type DeviceMoeSpec, moeSpecOf, tunedFileName } from "../kernels/mod.ts";
import { loadModel } from "../models/mod.ts";
import {
  type Ceilings,
  checkOutputFile,
  checkOutputFolder,
  measureCeilings,
  openDevice,
  TUNED_DIR_VARIABLE,
  type TunedTokens,
  tunedTokens,
  tuneMoeLayer,
  userTunedFolder,
  type WebGpuDevice,
  writeTunedRow,
} from "../runtime/mod.ts";
import type { CommandContext } from "./command.ts";
import { requireModel } from "./bundled_model.ts";
import { configure } from "./configure.ts";
import { modelCommand, type ModelFlags } from "./deploy_flags.ts";
import { countFlag } from "./flags.ts";
import { runTransforms } from "./run_transforms.ts";
import { describeRow, TuneView } from "./tune_view.ts";
import type { Terminal } from "./terminal.ts";

/** Numbers of tokens that are measured; a row serves steps of half to twice as many. */
const DEFAULT_TOKENS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/** A layer to tune and the name of its table. */
interface Target {
  readonly spec: DeviceMoeSpec;
  readonly file: string;
}

/** The command. */
export function tuneCommand(context: CommandContext) {
  return modelCommand("tune", "Measure configurations of MoE layers and write tuned tables")
    .option("--shape <H,I,E,K>", "a layer by its sizes instead of a model's layers")
    .addOption(new Option("--format <name>", "weights of --shape").choices(WEIGHT_FORMATS))
    .addOption(new Option("--activation <name>", "experts of --shape").choices(MOE_ACTIVATIONS))
    .addOption(new Option("--operands <name>", "operands of --shape").choices(MOE_OPERANDS))
    .option("--tokens <list>", `tokens per step (default: ${DEFAULT_TOKENS.join(",")})`)
    .option("--out <dir>", `folder for the tables (default: $${TUNED_DIR_VARIABLE}, or ./tuned)`)
    .option("--candidates <n>", "most candidates per round", countFlag("--candidates", 1))
    .option("--force", "measure rows again that the tables already have")
    .action((flags) => tune(flags, context));
}

type TuneFlags = ModelFlags & {
  shape?: string;
  format?: WeightFormat;
  activation?: DeviceMoeSpec["activation"];
  operands?: MoeOperands;
  tokens?: string;
  out?: string;
  candidates?: number;
  force?: true;
};

async function tune(flags: TuneFlags, context: CommandContext): Promise<void> {
  const { terminal, signal } = context;
  const tokens = flags.tokens === undefined
    ? DEFAULT_TOKENS
    : numbers("--tokens", flags.tokens, undefined);
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

interface Surroundings {
  readonly flags: TuneFlags;
  readonly device: WebGpuDevice;
  readonly ceilings: Ceilings;
  readonly view: TuneView;
  readonly signal: AbortSignal;
}

async function tuneTarget(
  { spec, file }: Target,
  tokens: readonly number[],
  folder: string,
  { flags, device, ceilings, view, signal }: Surroundings,
) {
  const known = flags.force ? [] : tunedTokens(folder, file);
  const rest = tokens.filter((count) => !known.includes(count));
  view.table(file, folder, tokens.length - rest.length, rest.length);
  const rows: TunedTokens[] = [];
  for (const count of rest) {
    const row = await tuneMoeLayer(device, spec, count, {
      signal,
      ...(flags.candidates && { candidates: flags.candidates }),
      onProgress: (progress) => view.progress(progress),
    });
    // Written after each number of tokens, so that an interruption loses only one.
    writeTunedRow(folder, file, count, row.best.map(({ config }) => config));
    view.row(row);
    rows.push(row);
  }
  return { file, folder, rows: rows.map((row) => describeRow(row, ceilings)) };
}

/** The different MoE layers of a model after its pipeline. */
async function modelTargets(
  flags: TuneFlags,
  device: WebGpuDevice,
  { signal, terminal }: CommandContext,
): Promise<Target[]> {
  for (const flag of ["format", "activation", "operands"] as const) {
    if (flags[flag] !== undefined) {
      throw new ConfigError(
        "cli/invalid-value",
        `Cannot use flag "--${flag}" with a model: expected --shape, got none`,
        { hint: "Give --shape H,I,E,K for a layer by its sizes; a model brings its own layers" },
      );
    }
  }
  const resolved = configure(flags).resolve();
  const model = await loadModel(resolved.settings.model ?? "");
  try {
    const { graph } = await runTransforms({ resolved, model, signal });
    const specs = tunableLayers(graph, model.path, terminal)
      .map((node) => ({ ...moeSpecOf(node), profile: device.profile }));
    const targets = specs.map((spec) => ({ spec, file: tunedFileName(spec, device.profile.key) }));
    if (targets.length === 0) {
      throw new ConfigError(
        "cli/no-moe",
        `Cannot tune "${model.path}": expected fused MoE layers in its graph, got none`,
        { hint: "Enable match_moe_pattern and fuse_moe" },
      );
    }
    return [...Map.groupBy(targets, ({ file }) => file).values()].map(([first]) => first);
  } finally {
    await model.checkpoint.close();
  }
}

/** The MoE layers that read tuned tables; those that do not are told, and are an error where all are. */
function tunableLayers(graph: Graph, model: string, terminal: Terminal) {
  const layers = graph.nodes.filter((node) => isOp(node, "fused_moe"));
  const foreign = layers.filter(({ attrs }) => !BUILTIN_BACKENDS.has(attrs.backend));
  if (foreign.length === 0) return layers;
  const names = [...new Set(foreign.map(({ attrs }) => attrs.backend))].join(", ");
  if (foreign.length === layers.length) throw nothingToTune(model, names);
  terminal.progress(
    `note    ${foreign.length} MoE layers of ${names} are left out: ${WHY_FOREIGN}`,
  );
  return layers.filter((layer) => !foreign.includes(layer));
}

const WHY_FOREIGN = "backends of plug-ins read no tuned tables";

function nothingToTune(model: string, backends: string): ConfigError {
  return new ConfigError(
    "cli/no-moe",
    `Cannot tune "${model}": expected MoE layers of auto, triton or trtllm, got layers of ${backends}: ${WHY_FOREIGN}`,
    { hint: "Set transforms.fuse_moe.backend=auto, or compare backends with deno task bench" },
  );
}

function shapeTarget(flags: TuneFlags, shape: string, { profile }: WebGpuDevice): Target {
  const [hidden, intermediate, experts, topK] = numbers("--shape", shape, 4);
  if (topK > experts) {
    throw new ConfigError(
      "cli/invalid-value",
      `Cannot read flag "--shape": expected at most ${experts} chosen experts, got ${topK}`,
    );
  }
  const { format = "bf16", activation = "silu", operands = "f32" } = flags;
  const spec: DeviceMoeSpec = {
    scope: "shape",
    tokens: { min: 1, max: 1 },
    hidden,
    intermediate,
    experts,
    topK,
    mlp: activation === "relu2" ? "plain" : "gated",
    activation,
    alpha: 1.702,
    limit: 7,
    applyRoutingOnInput: false,
    format,
    activationQuant: "none",
    operands,
    biasUp: activation === "swiglu_oai",
    biasDown: activation === "swiglu_oai",
    residual: true,
    profile,
  };
  return { spec, file: tunedFileName(spec, profile.key) };
}

/** A list of whole numbers from 1. */
function numbers(flag: string, text: string, count: number | undefined): number[] {
  const list = text.split(",").map((each) => /^\s*[1-9]\d*\s*$/.test(each) ? Number(each) : NaN);
  if (list.every((each) => Number.isSafeInteger(each)) && (!count || list.length === count)) {
    return list;
  }
  const expected = `${count ?? "a list of"} whole numbers from 1, with commas`;
  throw new ConfigError(
    "cli/invalid-value",
    `Cannot read flag "${flag}": expected ${expected}, got "${text}"`,
    { details: { flag, value: text } },
  );
}
