/**
 * Files of weights, whatever their format: opened as regular files, and read one range after the
 * other.
 *
 * @module
 */

import { CheckpointError, messageOf } from "../../graph/mod.ts";
import { fileKind } from "./json_file.ts";

/** An open file of weights. */
export class CheckpointFile {
  #tail: Promise<unknown> = Promise.resolve();

  constructor(readonly path: string, readonly file: Deno.FsFile) {}

  /** Fills `out` with the bytes of the file from `byteOffset` on. Reads wait for one another. */
  readInto(byteOffset: number, out: Uint8Array): Promise<void> {
    const read = this.#tail.then(async () => {
      await this.file.seek(byteOffset, Deno.SeekMode.Start);
      await readFully(this.file, out, this.path);
    });
    this.#tail = read.catch(() => {}); // a failed read is its caller's; the next one goes on
    return read;
  }

  /** Closes the file once the reads under way are done. */
  async close(): Promise<void> {
    await this.#tail;
    this.file.close();
  }
}

/** Opens a regular file; its kind is checked first, because opening a pipe waits for a writer. */
export async function openForReading(path: string): Promise<Deno.FsFile> {
  const kind = await fileKind(path);
  if (kind !== "file") throw unreadable(path, kind, kind === "none");
  try {
    return await Deno.open(path, { read: true });
  } catch (cause) {
    throw unreadable(path, messageOf(cause), false, cause);
  }
}

/** Fills `out` from where the file stands. */
export async function readFully(
  file: Deno.FsFile,
  out: Uint8Array,
  path: string,
): Promise<void> {
  for (let done = 0; done < out.length;) {
    const count = await file.read(out.subarray(done));
    if (count === null) throw truncated(path, `${out.length - done} more bytes`, done);
    done += count;
  }
}

/** The same, from an offset on, while the thread waits. */
export function readIntoNow(
  file: Deno.FsFile,
  byteOffset: number,
  out: Uint8Array,
  path: string,
): void {
  file.seekSync(byteOffset, Deno.SeekMode.Start);
  for (let done = 0; done < out.length;) {
    const count = file.readSync(out.subarray(done));
    if (count === null) throw truncated(path, `${out.length - done} more bytes`, done);
    done += count;
  }
}

/** The error of a file that ends too early. */
export function truncated(path: string, expected: string, got: number): CheckpointError {
  return new CheckpointError(
    "checkpoint/truncated",
    `Cannot read checkpoint file "${path}": expected ${expected}, got ${got} bytes`,
    {
      hint: "Download the file again: it was cut off",
      details: { path, expected, found: got },
    },
  );
}

function unreadable(path: string, got: string, missing: boolean, cause?: unknown) {
  return new CheckpointError(
    missing ? "checkpoint/missing-shard" : "checkpoint/unreadable",
    `Cannot open checkpoint file "${path}": expected a readable file, got ${got}`,
    { hint: "Download the model again, or check the path", cause, details: { path } },
  );
}
