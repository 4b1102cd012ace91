/**
 * Opens a model folder.
 *
 * @module
 */

import { basename, join, resolve } from "node:path";
import { CheckpointError } from "../graph/mod.ts";
import type { Model } from "./architecture.ts";
import { findArchitecture } from "./architectures.ts";
import { ChatTemplate } from "./chat_template.ts";
import { Checkpoint } from "./checkpoint.ts";
import { readGenerationConfig } from "./generation_config.ts";
import { normalizeConfig } from "./hf_config.ts";
import { isFile, readJson } from "./json_file.ts";
import { readQuantization } from "./quantization.ts";
import { Tokenizer } from "./tokenizer.ts";

/**
 * Opens a model folder: reads the small files and the headers of the large ones, no weights.
 *
 * @example
 * ```ts
 * import { loadModel } from "./load_model.ts";
 * const model = await loadModel("demo/storyteller");
 * console.assert(model.architecture.name === "qwen3_moe" && model.config.num_experts === 16);
 * await model.checkpoint.close();
 * ```
 */
export async function loadModel(folder: string): Promise<Model> {
  const file = await configFile(folder);
  const raw = normalizeConfig(await readJson(file), file);
  const architecture = findArchitecture(raw, file);
  const { config, build } = architecture.configure(raw, file);
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
    name: basename(resolve(folder)),
    architecture,
    config,
    checkpoint,
    tokenizer,
    chatTemplate,
    generation,
    bytes: checkpoint.bytes,
    quantization,
    build: () => build(checkpoint, quantization),
  };
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
    { hint: "Give the path of a model folder", details: { folder } },
  );
}
