/**
 * Golden models in the forms in which they are found: with the config of transformers 4, with the names
 * that experts have in memory, below a vision model.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import type { Model } from "../../models/mod.ts";
import { openBareModel } from "./bare_model.ts";
import { GOLDEN } from "./golden_values.ts";
import { keptTensors, wrappedTensors, writeModel } from "./kept_layout.ts";
import { VERIFIED_MODELS } from "./verified_models.ts";

/** How the files of a model are written. */
export type Form = "hub" | "legacy" | "kept" | "wrapped";

/** Forms that a golden model has besides the hub's. */
export function formsOf(name: string): Form[] {
  const { legacy, kept, wrapped } = VERIFIED_MODELS[name];
  return [
    ...legacy ? ["legacy" as const] : [],
    ...kept ? ["kept" as const] : [],
    ...wrapped ? ["wrapped" as const] : [],
  ];
}

/** Runs `use` with a golden model in one of its forms. */
export async function withGoldenModel<Result>(
  name: string,
  form: Form,
  use: (model: Model) => Promise<Result>,
): Promise<Result> {
  const folder = fileURLToPath(new URL(name, GOLDEN));
  const written = form === "hub" ? undefined : await writeForm(folder, name, form);
  try {
    const model = await openBareModel(written ?? folder);
    try {
      return await use(model);
    } finally {
      await model.checkpoint.close();
    }
  } finally {
    if (written !== undefined) await Deno.remove(written, { recursive: true });
  }
}

async function writeForm(folder: string, name: string, form: Exclude<Form, "hub">) {
  const read = async (file: string): Promise<unknown> =>
    JSON.parse(await Deno.readTextFile(`${folder}/${file}`));
  switch (form) {
    case "kept":
      return await writeModel(await keptTensors(folder, name), await read("config.json"));
    case "wrapped": {
      const tensors = await wrappedTensors(folder, "model.language_model.", "");
      return await writeModel(tensors, await read("hub/config.json"));
    }
    case "legacy": {
      const written = await Deno.makeTempDir();
      await Deno.copyFile(`${folder}/config_legacy.json`, `${written}/config.json`);
      await Deno.copyFile(`${folder}/model.safetensors`, `${written}/model.safetensors`);
      return written;
    }
  }
}
