/**
 * Models with packed weights under `tests/golden/quantized`, and what transformers says of them.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import {
  Graph,
  GraphBuilder,
  type HostTensor,
  input,
  invariant,
  isOp,
  type Node,
  type Value,
} from "../../graph/mod.ts";
import type { Model } from "../../models/mod.ts";
import { optimize, type TransformRecord } from "../../transforms/mod.ts";
import { openBareModel } from "./bare_model.ts";
import { defaultSteps } from "./language_model.ts";
import { readSafetensors } from "./safetensors.ts";

const FOLDER = new URL("../golden/", import.meta.url);

/** A model folder under `tests/golden`, with the values of its one prompt. */
export interface PackedModel {
  readonly model: Model;
  /** Token ids of the prompt. */
  readonly prompt: readonly number[];
  /** A golden tensor of the prompt as numbers: `logits`, `moe.0.in`. */
  golden(name: string): number[];
}

/** Opens a model for as long as `use` runs. */
export async function withPackedModel<Result>(
  name: string,
  use: (opened: PackedModel) => Promise<Result>,
): Promise<Result> {
  const folder = new URL(`${name}/`, FOLDER);
  const tensors = await readSafetensors(new URL("golden.safetensors", folder));
  const golden = (key: string) => {
    const tensor: HostTensor | undefined = tensors.get(`p1.${key}`);
    invariant(tensor, `prompt 1 of ${name} has no ${key}`);
    return Array.from(tensor.data, Number);
  };
  const model = await openBareModel(fileURLToPath(folder));
  try {
    return await use({ model, prompt: golden("input_ids"), golden });
  } finally {
    await model.checkpoint.close();
  }
}

/** Fields by transform, over `configs/default.yaml`. */
export type Changes = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** The keys of the fusions that have a backend. */
export const MOE_FUSIONS = [
  "fuse_moe",
  "fuse_fp8_moe",
  "fuse_finegrained_fp8_moe",
  "fuse_nvfp4_moe",
  "fuse_mxfp4_moe",
] as const;

/** One backend for every format. */
export function withBackend(backend: string, changes: Changes = {}): Changes {
  const fusions = MOE_FUSIONS.map((key) => [key, { ...changes[key], backend }] as const);
  return { ...changes, ...Object.fromEntries(fusions) };
}

/** The graph of the default pipeline with a cache in f32, and its records by key. */
export async function packedGraph(
  model: Model,
  changes: Changes = {},
): Promise<{ graph: Graph; records: Record<string, TransformRecord> }> {
  const { graph, history } = await optimize({
    steps: await defaultSteps({ insert_cached_attention: { cache_dtype: "f32" }, ...changes }),
    context: {
      model,
      target: { executor: "cpu" },
      settings: { maxSeqLen: 64, maxBatchSize: 1, maxNumTokens: 64 },
      log() {},
    },
  });
  return { graph, records: Object.fromEntries(history.map((record) => [record.key, record])) };
}

/** The fused expert layers of a graph. */
export function fusedLayers(graph: Graph): Node<"fused_moe">[] {
  return graph.nodes.filter((node) => isOp(node, "fused_moe"));
}

/** Keeps norms and residuals outside of routers and experts, so that a layer can be cut out. */
export const CUTTABLE: Changes = {
  fuse_rmsnorm: { enabled: false },
  fuse_residual: { enabled: false },
  fuse_add_rms_norm: { enabled: false },
};

/** Router and experts of one layer of a {@linkcode CUTTABLE} graph, from `x` [T, H] to `y` [T, H]. */
export function cutLayer(graph: Graph, index: number): Graph {
  const experts = fusedLayers(graph)[index];
  const router = graph.producer(input(experts, "selected_experts"));
  invariant(isOp(router, "moe_router"), "the experts are chosen by a router");
  const layer = new Graph(experts.scope);
  const b = new GraphBuilder(layer);
  const { dtype, shape } = input(experts, "x");
  const x = b.input("x", { dtype, shape });
  const weights = (node: Node, names: readonly string[]) =>
    Object.fromEntries(
      Object.entries(node.inputs).filter(([name, value]) => value && !names.includes(name))
        .map(([name, value]) => [name, copyWeight(layer, value)]),
    );
  const [selected, routing] = b.node("moe_router", { x, ...weights(router, ["x"]) }, router.attrs)
    .outputs;
  const dynamic = ["x", "selected_experts", "routing_weights"];
  const y = b.op("fused_moe", {
    x,
    selected_experts: selected,
    routing_weights: routing,
    ...weights(experts, dynamic),
  }, experts.attrs);
  layer.setOutput("y", y);
  return layer;
}

function copyWeight(graph: Graph, value: Value | readonly Value[] | undefined): Value {
  invariant(value && "weight" in value && value.weight, "an input of the layer is no weight");
  return graph.createWeight(value.name, value.weight);
}
