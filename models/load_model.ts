/**
 * Opens a model folder.
 *
 * @module
 */

import { basename, join, resolve } from "node:path";
import { CheckpointError } from "../graph/mod.ts";
import type { Model } from "./architecture.ts";
import { findArchitecture } from "./architectures.ts";
import { ChatTemplate } from "./chat/chat_template.ts";
import { Checkpoint } from "./checkpoint/checkpoint.ts";
import { readGenerationConfig } from "./config/generation_config.ts";
import { type ModelConfig, normalizeConfig } from "./config/hf_config.ts";
import { isGgufPath, loadGguf } from "./gguf/load_gguf.ts";
import { downloadModel, type DownloadOptions, isHubId } from "./checkpoint/hub.ts";
import { isFile, readConfigJson, readJson } from "./checkpoint/json_file.ts";
import { readQuantization } from "./quantization/read_quantization.ts";
import { Tokenizer } from "./tokenizer/tokenizer.ts";

/** Options of {@linkcode loadModel}; those of a download are for hub ids. */
export type LoadOptions = DownloadOptions;

/**
 * Opens a model folder, a GGUF file (of several splits the first), or downloads a model of the hub
 * (`org/name`) and opens it: reads the small files and the headers of the large ones, no weights.
 *
 * @example
 * ```ts
 * import { loadModel } from "./load_model.ts";
 * const model = await loadModel("demo/storyteller");
 * console.assert(model.architecture.name === "qwen3_moe" && model.config.num_experts === 16);
 * await model.checkpoint.close();
 * ```
 */
export async function loadModel(path: string, options: LoadOptions = {}): Promise<Model> {
  if (isGgufPath(path) && await isFile(path)) return await loadGguf(path);
  const folder = await folderOf(path, options);
  const file = await configFile(folder);
  const raw = normalizeConfig(await readConfigJson(file), file);
  const architecture = findArchitecture(raw, file);
  const { config, notes, build } = architecture.configure(raw, file);
  const tokenizer = await Tokenizer.open(folder);
  const chatTemplate = await ChatTemplate.open(folder, tokenizer.config);
  const generation = await readGenerationConfig(folder, config, tokenizer.eosTokenId);
  const modelOpt = join(folder, "hf_quant_config.json");
  const quantization = readQuantization(
    raw.quantization_config,
    await isFile(modelOpt) ? await readJson(modelOpt) : undefined,
    folder,
  );
  const checkpoint = await Checkpoint.open(folder);
  return {
    path: folder,
    name: basename(resolve(path)),
    architecture,
    config,
    checkpoint,
    tokenizer,
    chatTemplate,
    generation,
    bytes: checkpoint.bytes,
    quantization,
    notes: [...notes, ...checkpoint.notes, ...headNotes(config, checkpoint)],
    build: (options) => build(checkpoint, quantization, options),
  };
}

/** The head counts, as in transformers 5; people wonder about the memory, or about the config. */
function headNotes({ tie_word_embeddings: tied }: ModelConfig, checkpoint: Checkpoint): string[] {
  const own = [...checkpoint.tensors.keys()].find((name) => /(^|\.)lm_head\.weight$/.test(name));
  return tied && own !== undefined
    ? [
      `tie_word_embeddings is true and the checkpoint has ${own}: it is read, and not the embedding in its place`,
    ]
    : [];
}

/** A folder wins over a model of the hub with the same name. */
async function folderOf(path: string, options: LoadOptions): Promise<string> {
  if (!isHubId(path) || await Deno.stat(path).then(() => true, () => false)) return path;
  try {
    return await downloadModel(path, options);
  } catch (error) {
    if (!(error instanceof CheckpointError) || error.code === "checkpoint/cache") throw error;
    throw new CheckpointError(
      error.code,
      `Cannot open model "${path}": expected a folder or a model of the hub, got neither: ${error.message}`,
      { hint: error.hint, details: error.details, cause: error },
    );
  }
}

async function configFile(folder: string): Promise<string> {
  const file = join(folder, "config.json");
  if (await isFile(file)) return file;
  const found = await Deno.stat(folder).catch(() => undefined);
  if (found?.isDirectory) {
    throw new CheckpointError(
      "checkpoint/missing-config",
      `Cannot open model "${folder}": expected a config.json in the folder, got none`,
      { hint: "Give the folder that holds config.json", details: { folder } },
    );
  }
  throw new CheckpointError(
    "checkpoint/missing-folder",
    `Cannot open model "${folder}": expected a folder, got ${found ? "a file" : "nothing there"}`,
    {
      hint:
        "Give the path of a model folder, from the current folder on, or a hub id such as org/name",
      details: { folder },
    },
  );
}
