/**
 * JSON files of a model folder.
 *
 * @module
 */

import { CheckpointError, messageOf } from "../../graph/mod.ts";

/** The last part of a path; `node:path` is 2 MB of memory in each thread that imports it. */
export function fileName(path: string): string {
  return path.slice(Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1);
}

/** What a path leads to, for messages; `none` when there is nothing. */
export async function fileKind(path: string): Promise<string> {
  try {
    const { isFile, isDirectory } = await Deno.stat(path);
    return isFile ? "file" : isDirectory ? "a folder" : "a pipe or a device";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return "none";
    }
    // A circle of symbolic links, a name that is too long, a folder that may not be read.
    return messageOf(error);
  }
}

/** True for a file, false where there is nothing; a {@linkcode CheckpointError} for all else. */
export async function isFile(path: string): Promise<boolean> {
  const kind = await fileKind(path);
  if (kind === "file" || kind === "none" || kind === "a folder") return kind === "file";
  throw unreadable(path, kind);
}

/** The start of what git checks out in place of a file when git-lfs is not installed. */
export const LFS_POINTER = "version https://git-lfs";

/** A file is such a pointer. */
export function lfsPointer(path: string, bytes: number): CheckpointError {
  return new CheckpointError(
    "checkpoint/lfs-pointer",
    `Cannot read "${path}": expected the file itself, got a Git LFS pointer of ${bytes} bytes`,
    {
      hint: "Run git lfs install and git lfs pull in the model folder, or download the file",
      details: { path },
    },
  );
}

/** The content of a JSON file; a {@linkcode CheckpointError} when it is missing or broken. */
export async function readJson(path: string): Promise<unknown> {
  return parseJson(path, await readText(path));
}

function parseJson(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    if (text.startsWith(LFS_POINTER)) throw lfsPointer(path, text.length);
    throw new CheckpointError(
      "checkpoint/malformed-json",
      `Cannot read "${path}": expected JSON, got ${messageOf(cause)}`,
      { hint: "Download the file again", cause, details: { path } },
    );
  }
}

/** A string, or one of the words that Python writes for numbers that JSON has no form for. */
const PYTHON_WORD = /"(?:[^"\\]|\\.)*"|-?\bInfinity\b|\bNaN\b/g;

/**
 * The text of a JSON file that Python wrote, as JSON: the bare words `Infinity`, `-Infinity` and `NaN`
 * become `{"__float__": ".."}`, the form that transformers 5 gives them.
 */
export function fromPythonJson(text: string): string {
  return text.replaceAll(
    PYTHON_WORD,
    (word) => word.startsWith('"') ? word : `{"__float__": "${word}"}`,
  );
}

/** The content of a config.json, which Python writes. */
export async function readConfigJson(path: string): Promise<unknown> {
  return parseJson(path, fromPythonJson(await readText(path)));
}

/** The same, or undefined when there is no such file. */
export async function readOptionalJson(path: string): Promise<unknown> {
  return await isFile(path) ? await readJson(path) : undefined;
}

/** The text of a file; a {@linkcode CheckpointError} when there is none. */
export async function readText(path: string): Promise<string> {
  const kind = await fileKind(path);
  if (kind !== "file") throw unreadable(path, kind);
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    throw unreadable(path, messageOf(cause), cause);
  }
}

function unreadable(path: string, got: string, cause?: unknown): CheckpointError {
  const isMissing = got === "none";
  return new CheckpointError(
    isMissing ? "checkpoint/missing-file" : "checkpoint/unreadable",
    `Cannot read "${path}": expected a file, got ${got}`,
    { hint: "Check the path of the model folder", cause, details: { path } },
  );
}
