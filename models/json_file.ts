/**
 * JSON files of a model folder.
 *
 * @module
 */

import { CheckpointError, messageOf } from "../graph/mod.ts";

/** True when the path is a file. */
export async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    throw error;
  }
}

/** The content of a JSON file; a {@linkcode CheckpointError} when it is missing or broken. */
export async function readJson(path: string): Promise<unknown> {
  const text = await readText(path);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(
      "checkpoint/malformed-json",
      `Cannot read "${path}": expected JSON, got ${messageOf(cause)}`,
      { hint: "Download the file again", cause, details: { path } },
    );
  }
}

/** The same, or undefined when there is no such file. */
export async function readOptionalJson(path: string): Promise<unknown> {
  return await isFile(path) ? await readJson(path) : undefined;
}

/** The text of a file; a {@linkcode CheckpointError} when there is none. */
export async function readText(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    const missing = cause instanceof Deno.errors.NotFound;
    throw new CheckpointError(
      missing ? "checkpoint/missing-file" : "checkpoint/unreadable",
      `Cannot read "${path}": expected a file, got ${missing ? "none" : messageOf(cause)}`,
      { hint: "Check the path of the model folder", cause, details: { path } },
    );
  }
}
