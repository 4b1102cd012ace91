/**
 * The model that comes with Mixline: a folder beside the code; where the code was loaded from the web, a
 * copy in the user's cache.
 *
 * @module
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CheckpointError, messageOf } from "../graph/mod.ts";
import { statOf } from "../runtime/mod.ts";
import { modelNeeds, type Need, requirePermissions, VERSION } from "./permissions.ts";

const SOURCE = new URL("../demo/storyteller/", import.meta.url);
const IS_LOCAL = SOURCE.protocol === "file:";

/** What the model consists of. */
const FILES = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "model.safetensors",
];

let folder: string | undefined;

/** Path of the model's folder, which {@linkcode provideBundledModel} may have yet to fill. */
export function bundledModel(): string {
  return folder ??= IS_LOCAL
    ? fileURLToPath(SOURCE).replace(/[\\/]$/, "")
    : join(cacheFolder(), "mixline", VERSION, "storyteller");
}

/** Asks for what opening a model takes, and provides the bundled one. */
export async function requireModel(command: string, model: string | null): Promise<void> {
  await provideBundledModel(command, model);
  requirePermissions(command, modelNeeds(model));
}

/** Downloads the bundled model once, where it is wanted and the code was loaded from the web. */
export async function provideBundledModel(command: string, model: string | null): Promise<void> {
  if (IS_LOCAL || model !== bundledModel()) return;
  const path = bundledModel();
  const why = "the bundled model is downloaded";
  const needs: Need[] = [
    { permission: { name: "net", host: SOURCE.host }, why },
    { permission: { name: "read", path }, why: "and kept there" },
    { permission: { name: "write", path }, why: "and kept there" },
  ];
  requirePermissions(command, needs);
  await Deno.mkdir(path, { recursive: true });
  for (const name of FILES) {
    const file = join(path, name);
    if (!statOf(file)) await download(new URL(name, SOURCE), file);
  }
}

async function download(url: URL, file: string): Promise<void> {
  try {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const unfinished = `${file}.unfinished`;
    await Deno.writeFile(unfinished, answer.body ?? new Uint8Array());
    await Deno.rename(unfinished, file);
  } catch (cause) {
    throw new CheckpointError(
      "checkpoint/bundled",
      `Cannot download "${url}" of the bundled model: expected the file, got ${messageOf(cause)}`,
      { hint: "Name a model with --model", cause },
    );
  }
}

function cacheFolder(): string {
  return Deno.env.get("XDG_CACHE_HOME") || join(Deno.env.get("HOME") ?? ".", ".cache");
}
