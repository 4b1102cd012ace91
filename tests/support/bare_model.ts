/**
 * Models without a tokenizer: fixtures hold weights and goldens only.
 *
 * @module
 */

import { basename, join } from "node:path";
import {
  Checkpoint,
  findArchitecture,
  type Model,
  normalizeConfig,
  readGenerationConfig,
} from "../../models/mod.ts";

/** Opens a model folder that has no tokenizer; asking for one is an error of the test. */
export async function openBareModel(folder: string, configFile = "config.json"): Promise<Model> {
  const file = join(folder, configFile);
  const raw = normalizeConfig(JSON.parse(await Deno.readTextFile(file)), file);
  const architecture = findArchitecture(raw, file);
  const { config, build } = architecture.configure(raw, file);
  const checkpoint = await Checkpoint.open(folder);
  return {
    path: folder,
    name: basename(folder),
    architecture,
    config,
    checkpoint,
    get tokenizer(): never {
      throw new Error(`"${folder}" has no tokenizer`);
    },
    chatTemplate: undefined,
    generation: await readGenerationConfig(folder, config),
    bytes: checkpoint.bytes,
    build: () => build(checkpoint),
  };
}
