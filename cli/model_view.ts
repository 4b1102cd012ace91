/**
 * `inspect model`: what the files of a model say, without reading its weights and without a device.
 *
 * @module
 */

import {
  type LayerSummary,
  type Model,
  summarizeLayers,
  summarizeWeights,
  type WeightSummary,
} from "../models/mod.ts";
import { describeChat, formatChat, formatEndTokens } from "./chat_view.ts";
import { count, formatBytes, formatCount, formatTable } from "./format.ts";
import type { View } from "./inspect_views.ts";
import { factRows, factsOrReason } from "./pipeline_facts.ts";
import type { Subject } from "./run_transforms.ts";

/** Names in one line; `--json` has all. */
const SHOWN = 8;

/** What the model's files say. */
export async function describeModel(subject: Subject): Promise<View> {
  const { model } = subject;
  const { config, checkpoint, architecture, quantization, generation } = model;
  const { graph, unusedTensors } = model.build();
  const weights = summarizeWeights(
    graph,
    config.num_experts_per_tok,
    ({ name }) => checkpoint.info(name).byteLength,
  );
  const sparse = summarizeLayers(graph, config.num_experts_per_tok);
  const facts = await factsOrReason(subject);
  const document = {
    path: model.path,
    architecture: architecture.name,
    features: architecture.features,
    bytes: model.bytes,
    tensors: checkpoint.tensors.size,
    files: [...checkpoint.files.keys()],
    weights,
    layers: config.num_hidden_layers,
    sparseLayers: sparse ?? null,
    context: config.max_position_embeddings,
    pipeline: facts,
    quantization: describeQuantization(model) ?? null,
    hasChatTemplate: model.chatTemplate !== undefined,
    chat: describeChat(model) ?? null,
    generation,
    notes: model.notes,
    unusedTensors: unusedTensors.map(({ name, reason }) => ({ name, reason: reason ?? null })),
    config,
  };
  const rows = [
    ["path", model.path],
    ["architecture", config.architectures[0]],
    ["  covers", architecture.features.join(", ")],
    ["weights", formatFiles(model)],
    ["parameters", `${formatCount(weights.parameters)}, ${formatCount(weights.active)} active`],
    ...weights.kinds.map((kind) => [`  ${kind.kind}`, formatKind(kind)]),
    ["layers", formatLayers(config.num_hidden_layers, sparse)],
    ["experts", sparse ? formatExperts(sparse) : "none: a dense model"],
    ["context", `${config.max_position_embeddings} tokens`],
    [
      "quantization",
      quantization
        ? `${quantization.dialect}: ${quantization.formats.join("; ")} (${quantization.source})`
        : "none",
    ],
    ...(quantization && quantization.exclude.length > 0
      ? [["  left plain", shorten(quantization.exclude)]]
      : []),
    ...factRows(facts),
    ["chat template", formatChat(model)],
    ["end tokens", formatEndTokens(model)],
    ["generation", JSON.stringify(generation)],
    ...model.notes.map((note) => ["note", note]),
    ...formatUnused(unusedTensors),
    ["config", "as it is read, with the defaults of its class"],
    ...Object.entries(config).filter(([name]) => name !== "quantization_config")
      .map(([name, value]) => [`  ${name}`, JSON.stringify(value) ?? "not given"]),
  ];
  return { document, text: `${formatTable(rows)}\n` };
}

/** Bytes and tensors; those of a GGUF file are others in memory than in the file. */
function formatFiles({ bytes, checkpoint: { tensors, files } }: Model): string {
  const where = count(files.size, "file");
  const stored = new Set([...tensors.values()].flatMap(({ name, madeOf }) => madeOf ?? [name]));
  return stored.size === tensors.size
    ? `${formatBytes(bytes)}, ${tensors.size} tensors in ${where}`
    : `${
      formatBytes(bytes)
    } as kept in memory, ${tensors.size} tensors made of ${stored.size} in ${where}`;
}

function formatLayers(layers: number, sparse: LayerSummary | undefined): string {
  return sparse ? `${layers}, ${sparse.sparse} with experts` : `${layers}`;
}

function formatExperts({ experts, chosen }: LayerSummary): string {
  return `${experts.join(" or ")} a layer, ${chosen.join(" or ")} a token`;
}

function describeQuantization({ quantization }: Model) {
  if (!quantization) return undefined;
  const { dialect, source, formats, exclude, cacheScales = false } = quantization;
  return { dialect, source, formats, exclude, cacheScales };
}

function formatKind({ parameters, bytes, formats }: WeightSummary["kinds"][number]): string {
  return `${formatCount(parameters)}, ${formatBytes(bytes)}, ${Object.keys(formats).join(" and ")}`;
}

/** One line for each reason. */
function formatUnused(tensors: ReturnType<Model["build"]>["unusedTensors"]): string[][] {
  if (tensors.length === 0) return [["unused tensors", "none"]];
  return [...Map.groupBy(tensors, ({ reason }) => reason)].map(([reason, list], i) => [
    i === 0 ? "unused tensors" : "",
    `${list.length} (${reason ?? "no reason is known"}): ${shorten(list.map(({ name }) => name))}`,
  ]);
}

function shorten(names: readonly string[]): string {
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : "";
  return names.slice(0, SHOWN).join(", ") + more;
}
