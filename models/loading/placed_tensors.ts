/**
 * Tensors by where they are, for a thread that has not opened their checkpoint: it is told places, and
 * opens a file when something of it is read.
 *
 * @module
 */

import { invariant, type TensorSource } from "../../graph/mod.ts";
import { openForReading, readIntoNow } from "../checkpoint/checkpoint_file.ts";
import type { TensorInfo } from "../checkpoint/safetensors.ts";
import { ValueCheck } from "../checkpoint/value_check.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Files that are open at a time. Weights come in the order of layers, which are seldom in more. */
const OPEN_FILES = 3;

/** Tensors whose places are known, checked as they are read. */
export class PlacedTensors implements TensorSource {
  #places: ReadonlyMap<string, TensorInfo> = new Map();
  /** The one that was used last is the last. */
  readonly #files = new Map<string, Deno.FsFile>();
  readonly #values = new ValueCheck();

  /** Sets the tensors that will be read. */
  place(tensors: readonly TensorInfo[]): void {
    this.#places = new Map(tensors.map((info) => [info.name, info]));
  }

  async readInto(name: string, byteOffset: number, out: Bytes): Promise<void> {
    const info = this.#places.get(name);
    invariant(
      info && byteOffset >= 0 && byteOffset + out.length <= info.byteLength,
      `bytes ${byteOffset} to ${byteOffset + out.length} of tensor "${name}" have no place`,
    );
    const file = await this.#open(info.file);
    // This thread has nothing else to do, so it waits, which spares it the thread pool's threads.
    const read = (at: number, part: Bytes) =>
      readIntoNow(file, info.byteOffset + at, part, info.file);
    read(byteOffset, out);
    await this.#values.check(info, out, (at, part) => Promise.resolve(read(at, part)));
  }

  async read(name: string, byteOffset: number, byteLength: number): Promise<Bytes> {
    const bytes = new Uint8Array(byteLength);
    await this.readInto(name, byteOffset, bytes);
    return bytes;
  }

  /** Notes for the user that come from reading. */
  get findings(): string[] {
    return this.#values.findings;
  }

  /** Closes the files. */
  close(): void {
    for (const file of this.#files.values()) file.close();
    this.#files.clear();
  }

  async #open(path: string): Promise<Deno.FsFile> {
    const known = this.#files.get(path);
    this.#files.delete(path);
    const file = known ?? await openForReading(path);
    this.#files.set(path, file);
    const [[oldest]] = this.#files;
    if (this.#files.size > OPEN_FILES) {
      this.#files.get(oldest)?.close();
      this.#files.delete(oldest);
    }
    return file;
  }
}
