/**
 * One file of the hub, downloaded into the blobs of the cache and linked from a snapshot.
 *
 * @module
 */

import { createHash, type Hash } from "node:crypto";
import { dirname, join, relative } from "node:path";
import { downloadFile, type ListFileEntry } from "../../deps/hub.ts";
import { CheckpointError } from "../../graph/mod.ts";
import { isFile } from "./json_file.ts";

/** What the calls of the hub's library share. */
export interface HubAccess {
  readonly hubUrl?: string;
  readonly accessToken?: string;
  readonly fetch: typeof fetch;
}

/** A file to download. */
export interface BlobTask {
  readonly repo: string;
  readonly revision: string;
  readonly entry: ListFileEntry;
  /** Folder of the repository in the cache. */
  readonly storage: string;
  /** Path of the file in the snapshot. */
  readonly link: string;
  readonly access: HubAccess;
  readonly signal?: AbortSignal;
  /** Called with the bytes of the file that are there. */
  readonly onBytes: (bytes: number) => void;
}

/** Times that a broken connection is opened again without a single byte in between. */
const ATTEMPTS = 3;

/** Milliseconds between two looks at a file that another process downloads. */
const LOOK_MS = 200;

/** Makes the file present at its link; goes on with what an interrupted download left. */
export async function downloadBlob(task: BlobTask): Promise<void> {
  const { entry, storage, link } = task;
  if (await hasSize(link, entry.size)) return task.onBytes(entry.size);
  const blob = join(storage, "blobs", entry.lfs?.oid ?? entry.oid ?? entry.path);
  await Deno.mkdir(dirname(blob), { recursive: true });
  await Deno.mkdir(dirname(link), { recursive: true });
  if (!await hasSize(blob, entry.size)) await downloadTo(blob, task);
  task.onBytes(entry.size);
  await makeLink(blob, link);
}

async function downloadTo(blob: string, task: BlobTask): Promise<void> {
  const incomplete = `${blob}.incomplete`;
  const file = await Deno.open(incomplete, { create: true, read: true, write: true });
  try {
    await waitForOthers(file, task);
    if (await hasSize(blob, task.entry.size)) return await removeIfThere(incomplete);
    const resumed = await complete(file, task);
    if (resumed === "wrong") await file.truncate(0); // the file of an earlier run was corrupt
    if (resumed === "wrong" && await complete(file, task) === "wrong") {
      await file.truncate(0);
      throw corrupt(task, `content with sha256 ${task.entry.lfs?.oid}`, "another one");
    }
  } finally {
    file.close();
  }
  try {
    await Deno.rename(incomplete, blob);
  } catch (error) {
    // A process that had the whole file, too, was faster.
    if (!await hasSize(blob, task.entry.size)) throw error;
  }
}

/** Waits while another process is at the same file, and tells of its progress. */
async function waitForOthers(file: Deno.FsFile, { signal, onBytes }: BlobTask): Promise<void> {
  while (!await file.tryLock(true)) {
    signal?.throwIfAborted();
    onBytes((await file.stat()).size);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** Downloads the missing bytes of a file, and checks the whole file where the hub gives its hash. */
async function complete(file: Deno.FsFile, task: BlobTask): Promise<"right" | "wrong"> {
  const { lfs, size } = task.entry;
  const hash = lfs && createHash("sha256");
  const start = await resume(file, size, hash);
  await receive(file, start, hash, task);
  return hash && hash.digest("hex") !== lfs?.oid ? "wrong" : "right";
}

/** Reads what is there into the hash; gives its length, and leaves the file at its end. */
async function resume(file: Deno.FsFile, size: number, hash: Hash | undefined): Promise<number> {
  const present = (await file.stat()).size;
  if (present > size) await file.truncate(0);
  await file.seek(0, Deno.SeekMode.Start);
  const buffer = new Uint8Array(2 ** 20);
  let end = 0;
  for (let count = await file.read(buffer); count !== null; count = await file.read(buffer)) {
    hash?.update(buffer.subarray(0, count));
    end += count;
  }
  return end;
}

/** Appends the rest of the file, and opens a broken connection again as long as bytes come. */
async function receive(
  file: Deno.FsFile,
  start: number,
  hash: Hash | undefined,
  task: BlobTask,
): Promise<void> {
  const { repo, revision, entry, access, signal, onBytes } = task;
  let end = start;
  for (let failures = 0; end < entry.size;) {
    const before = end;
    try {
      const whole = await downloadFile({ ...access, repo, revision, path: entry.path });
      if (!whole || whole.size !== entry.size) {
        throw corrupt(task, `${entry.size} bytes`, `${whole?.size ?? "none"}`);
      }
      for await (const bytes of whole.slice(end).stream()) {
        signal?.throwIfAborted();
        if (end + bytes.length > entry.size) throw corrupt(task, `${entry.size} bytes`, "more");
        await writeAll(file, bytes);
        hash?.update(bytes);
        end += bytes.length;
        onBytes(end);
      }
      if (end === before) throw corrupt(task, `${entry.size} bytes`, `${end}`);
    } catch (error) {
      failures = end > before ? 1 : failures + 1;
      const hopeless = error instanceof CheckpointError || signal?.aborted;
      if (hopeless || failures >= ATTEMPTS) throw error;
    }
  }
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
}

async function hasSize(path: string, size: number): Promise<boolean> {
  return await isFile(path) && (await Deno.stat(path)).size === size;
}

/**
 * A link where the system and Deno's permissions have them, otherwise a copy. It gets its name at once,
 * as another process may be reading what is there.
 */
async function makeLink(blob: string, link: string): Promise<void> {
  const made = `${link}.${crypto.randomUUID()}`;
  try {
    // Deno makes symbolic links only for programs that may write everywhere.
    const { state } = await Deno.permissions.query({ name: "write" });
    if (state === "granted") await Deno.symlink(relative(dirname(link), blob), made);
    else await Deno.link(blob, made);
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied) && !isUnprivileged(error)) throw error;
    await Deno.copyFile(blob, made);
  }
  await Deno.rename(made, link);
  // Where both are names of one file, renaming does nothing.
  await removeIfThere(made);
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Windows without developer mode: "a required privilege is not held". */
function isUnprivileged(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EPERM";
}

function corrupt({ repo, entry }: BlobTask, expected: string, got: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/download",
    `Cannot download "${entry.path}" of model "${repo}": expected ${expected}, got ${got}`,
    { hint: "Start the download again", details: { model: repo, file: entry.path } },
  );
}
