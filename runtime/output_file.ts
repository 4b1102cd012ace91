/**
 * Files that hold measurements: whole or not at all, and known to be writable before the work.
 *
 * @module
 */

import { dirname, join } from "node:path";
import { messageOf, OutputError, permissionHint } from "../graph/mod.ts";

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
 * Makes a folder whose files get their names later, and tries to write there.
 *
 * @throws {OutputError} `output/file`.
 */
export function checkOutputFolder(folder: string): void {
  const probe = join(folder, ".writable");
  attempt(folder, () => {
    makeFolderOf(probe, folder);
    Deno.writeTextFileSync(unfinishedName(probe), "");
    Deno.removeSync(unfinishedName(probe));
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

function makeFolderOf(file: string, shown = file): void {
  const folder = dirname(file);
  const { path, isDirectory } = nearestThere(folder);
  if (!isDirectory) {
    throw new OutputError(
      "output/file",
      `Cannot write "${shown}": expected a folder "${path}", got a file`,
      { hint: "Name a folder that exists, or one that can be made", details: { path: shown } },
    );
  }
  Deno.mkdirSync(folder, { recursive: true });
}

/** The folder, or the first above it that is there. */
function nearestThere(folder: string): { path: string; isDirectory: boolean } {
  const info = statOf(folder);
  const above = dirname(folder);
  if (info === undefined && above !== folder) return nearestThere(above);
  // What cannot be looked at is tried: the attempt says what is wrong.
  return { path: folder, isDirectory: info?.isDirectory ?? true };
}

function unfinishedName(path: string): string {
  return `${path}.unfinished`;
}

/** What is at a path; undefined where nothing is, or nothing that may be looked at. */
export function statOf(path: string): Deno.FileInfo | undefined {
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
      hint: hintFor(error),
      details: { path },
      cause: error,
    });
  }
}

function hintFor(error: unknown): string {
  return permissionHint(error) ??
    (isFull(error)
      ? "Free space on the disk, or name a file elsewhere"
      : "Name a file in a folder that exists and can be written");
}

/** True for ENOSPC, which Deno raises as an error of no class of its own. */
function isFull(error: unknown): boolean {
  return error instanceof Error && Reflect.get(error, "code") === "ENOSPC";
}

/** Removes what an attempt has left, a file or a folder; what cannot be removed stays. */
export function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch {
    // The error that is raised tells what is wrong with the folder.
  }
}
