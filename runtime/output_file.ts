/**
 * Files that hold measurements: whole or not at all, and known to be writable before the work.
 *
 * @module
 */

import { dirname } from "node:path";
import { messageOf, OutputError } from "../graph/mod.ts";

/**
 * Makes the folder of a file that will be written, and tries to write there.
 *
 * @throws {OutputError} `output/file`.
 */
export function checkOutputFile(path: string): void {
  attempt(path, () => {
    makeFolderOf(path);
    const isFolder = statOf(path)?.isDirectory ?? false;
    if (isFolder) throw new Error("there is a folder of this name");
    Deno.writeTextFileSync(unfinishedName(path), "");
    Deno.removeSync(unfinishedName(path));
  });
}

/**
 * Writes a file beside the one that it then replaces at once: a reader, an interruption or a full disk
 * never leaves half of it.
 *
 * @throws {OutputError} `output/file`; what was there before is still there.
 */
export function writeOutputFile(path: string, text: string): void {
  attempt(path, () => {
    makeFolderOf(path);
    Deno.writeTextFileSync(unfinishedName(path), text);
    Deno.renameSync(unfinishedName(path), path);
  });
}

function makeFolderOf(path: string): void {
  const folder = dirname(path);
  if (statOf(folder)?.isDirectory === false) {
    throw new OutputError(
      "output/file",
      `Cannot write "${path}": expected a folder "${folder}", got a file`,
      { hint: "Name a folder that exists, or one that can be made", details: { path } },
    );
  }
  Deno.mkdirSync(folder, { recursive: true });
}

function unfinishedName(path: string): string {
  return `${path}.unfinished`;
}

function statOf(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch {
    return undefined;
  }
}

function attempt(path: string, write: () => void): void {
  try {
    write();
  } catch (error) {
    if (error instanceof OutputError) throw error;
    if (statOf(unfinishedName(path)) !== undefined) removeQuietly(unfinishedName(path));
    throw new OutputError("output/file", `Cannot write "${path}": ${messageOf(error)}`, {
      hint: isFull(error)
        ? "Free space on the disk, or name a file elsewhere"
        : "Name a file in a folder that exists and can be written",
      details: { path },
      cause: error,
    });
  }
}

/** True for ENOSPC, which Deno raises as an error of no class of its own. */
function isFull(error: unknown): boolean {
  return error instanceof Error && Reflect.get(error, "code") === "ENOSPC";
}

function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // The error that is raised tells what is wrong with the folder.
  }
}
