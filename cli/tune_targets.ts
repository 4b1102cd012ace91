/**
 * What `tune` measures: the tables of a model's layers, or of one layer of experts by its sizes.
 *
 * @module
 */

import {
  type CacheDtype,
  ConfigError,
  type Graph,
  isOp,
  type MoeOperands,
  type Node,
  type WeightFormat,
} from "../graph/mod.ts";
import {
  BUILTIN_BACKENDS,
  type DeviceMoeSpec,
  moeSpecOf,
  tunedFileName,
  tunedRow,
} from "../kernels/mod.ts";
import { loadModel } from "../models/mod.ts";
import {
  type Ceilings,
  tunableOf,
  tuneMoeLayer,
  tuneOp,
  type TuneProgress,
  type WebGpuDevice,
} from "../runtime/mod.ts";
import type { CommandContext } from "./command.ts";
import { configure } from "./configure.ts";
import type { ModelFlags } from "./deploy_flags.ts";
import { count } from "./format.ts";
import { runTransforms } from "./run_transforms.ts";
import type { Terminal } from "./terminal.ts";
import { describeExperts, describeSizes, type MeasuredRows } from "./tune_view.ts";

/** Kinds of layers that have tables. */
export const TUNE_KINDS = ["experts", "linear", "attention"] as const;

export type TuneKind = (typeof TUNE_KINDS)[number];

export type TuneFlags = ModelFlags & {
  shape?: string;
  only?: TuneKind[];
  format?: WeightFormat;
  activation?: DeviceMoeSpec["activation"];
  operands?: MoeOperands;
  tokens?: string;
  out?: string;
  candidates?: number;
  force?: true;
};

/** What a measurement is done with. */
export interface Measurement {
  readonly device: WebGpuDevice;
  readonly ceilings: Ceilings;
  readonly signal: AbortSignal;
  readonly candidates?: number;
  onProgress(step: TuneProgress): void;
}

/** A table to be measured. */
export interface Target {
  readonly file: string;
  /** Whether the table has rows for so many tokens. */
  serves(tokens: number): boolean;
  measure(tokens: number, measurement: Measurement): Promise<MeasuredRows>;
}

/** The table of a layer of experts. */
function expertsTarget(spec: DeviceMoeSpec): Target {
  return {
    file: tunedFileName(spec, spec.profile.key),
    serves: () => true,
    async measure(tokens, { device, ceilings, ...options }) {
      const row = await tuneMoeLayer(device, spec, tokens, options);
      return {
        rows: row.best.map(({ config }) => tunedRow(config)),
        ...describeExperts(row, ceilings),
      };
    },
  };
}

/** The table of a dense layer or of attention, or why nothing is to be measured. */
function sizesTarget(node: Node, device: WebGpuDevice, cacheDtype: CacheDtype): Target | string {
  const tunable = tunableOf(node, device, 1, { cacheDtype });
  if (typeof tunable === "string") return tunable;
  return {
    file: tunable.file,
    serves: (tokens) => typeof tunableOf(node, device, tokens, { cacheDtype }) !== "string",
    async measure(tokens, { ceilings, onProgress, ...options }) {
      const row = await tuneOp(device, node, tokens, {
        ...options,
        cacheDtype,
        onProgress: (done, total) => onProgress({ tokens, done, total, bestSeconds: undefined }),
      });
      return { rows: [row.best.row], ...describeSizes(row, ceilings) };
    },
  };
}

/** The different layers of a model after its pipeline that have tables. */
export async function modelTargets(
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
    const kinds = flags.only ?? TUNE_KINDS;
    const targets = [
      ...kinds.includes("experts") ? expertTargets(graph, model.path, device, terminal) : [],
      ...sizesTargets(graph, kinds, device, terminal),
    ];
    if (targets.length === 0) throw nothingToMeasure(model.path, kinds);
    return [...Map.groupBy(targets, ({ file }) => file).values()].map(([first]) => first);
  } finally {
    await model.checkpoint.close();
  }
}

/** Dense layers and attention; those without anything to measure are told. */
function sizesTargets(
  graph: Graph,
  kinds: readonly TuneKind[],
  device: WebGpuDevice,
  terminal: Terminal,
): Target[] {
  const caches = new Map(graph.caches.map(({ name, dtype }) => [name, dtype]));
  const reasons = new Set<string>();
  const targets = graph.nodes.flatMap((node) => {
    const kind = kindOf(node);
    if (!kind || !kinds.includes(kind)) return [];
    const cache = isOp(node, "cached_attention") ? caches.get(node.attrs.cache) : undefined;
    const target = sizesTarget(node, device, cache ?? "f16");
    if (typeof target !== "string") return [target];
    reasons.add(`${kind} layers are left out: ${target}`);
    return [];
  });
  for (const reason of reasons) terminal.progress(`note    ${reason}`);
  return targets;
}

function kindOf(node: Node): TuneKind | undefined {
  if (isOp(node, "cached_attention")) return "attention";
  return isOp(node, "linear") || isOp(node, "fused_linear") ? "linear" : undefined;
}

/** The different layers of experts of a model. */
function expertTargets(
  graph: Graph,
  path: string,
  { profile }: WebGpuDevice,
  terminal: Terminal,
): Target[] {
  const targets = tunableLayers(graph, path, terminal)
    .map((node) => expertsTarget({ ...moeSpecOf(node), profile }));
  if (targets.length === 0) {
    throw new ConfigError(
      "cli/no-moe",
      `Cannot tune "${path}": expected fused MoE layers in its graph, got none`,
      { hint: "Enable match_moe_pattern and fuse_moe, or give --only linear attention" },
    );
  }
  return targets;
}

/** The MoE layers that read tuned tables; those that do not are told, and are an error where all are. */
function tunableLayers(graph: Graph, model: string, terminal: Terminal) {
  const layers = graph.nodes.filter((node) => isOp(node, "fused_moe"));
  const foreign = layers.filter(({ attrs }) => !BUILTIN_BACKENDS.has(attrs.backend));
  if (foreign.length === 0) return layers;
  const names = [...new Set(foreign.map(({ attrs }) => attrs.backend))].join(", ");
  if (foreign.length === layers.length) throw nothingToTune(model, names);
  terminal.progress(
    `note    left out: ${count(foreign.length, "MoE layer")} of ${names}, as ${WHY_FOREIGN}`,
  );
  return layers.filter((layer) => !foreign.includes(layer));
}

function nothingToMeasure(model: string, kinds: readonly TuneKind[]): ConfigError {
  return new ConfigError(
    "cli/nothing-to-tune",
    `Cannot tune "${model}": expected layers with sizes to measure among ${
      kinds.join(", ")
    }, got none on this device`,
    { hint: "Name other kinds with --only, or tune on the GPU that is to run the model" },
  );
}

const WHY_FOREIGN = "backends of plug-ins read no tuned tables";

function nothingToTune(model: string, backends: string): ConfigError {
  return new ConfigError(
    "cli/no-moe",
    `Cannot tune "${model}": expected MoE layers of auto, triton or trtllm, got layers of ${backends}: ${WHY_FOREIGN}`,
    { hint: "Set transforms.fuse_moe.backend=auto, or compare backends with deno task bench" },
  );
}

export function shapeTarget(flags: TuneFlags, shape: string, { profile }: WebGpuDevice): Target {
  const [hidden, intermediate, experts, topK] = numbers("--shape", shape, 4);
  if (topK > experts) {
    throw new ConfigError(
      "cli/invalid-value",
      `Cannot read flag "--shape": expected at most ${experts} chosen experts, got ${topK}`,
    );
  }
  if (flags.only !== undefined) {
    throw new ConfigError(
      "cli/invalid-value",
      'Cannot use flag "--only" with --shape: expected a model, got one layer of experts',
      { hint: "Leave out --only, or give --model" },
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
  return expertsTarget(spec);
}

/** A list of whole numbers from 1. */
export function numbers(flag: string, text: string, count: number | undefined): number[] {
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
