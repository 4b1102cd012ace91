/**
 * One GGUF file: its metadata, the places of its tensors, and reads of byte ranges.
 *
 * Format (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): "GGUF", version, counts of
 * tensors and of keys; the keys with typed values; the tensors' names, dimensions (innermost first),
 * types and offsets; then the data, aligned.
 *
 * @module
 */

import { CheckpointError } from "../../graph/mod.ts";
import {
  CheckpointFile,
  openForReading,
  readFully,
  truncated,
} from "../checkpoint/checkpoint_file.ts";
import { GgufReader, type GgufValue, NeedsMoreBytes } from "./gguf_reader.ts";
import { findGgufType, type GgufType } from "./gguf_types.ts";

/** Where a tensor lies in a file. */
export interface GgufTensor {
  readonly name: string;
  readonly type: GgufType;
  /** Outermost dimension first, as everywhere else. */
  readonly shape: readonly number[];
  /** Offset of the first byte in the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
  readonly file: GgufFile;
}

/** Versions that are read; the first one had other counts. */
const VERSIONS = [2, 3];

/** Bytes that are read of a header at first; vocabularies take some more. */
const FIRST_BYTES = 2 ** 20;

/** Longer headers are refused: vocabularies take some ten megabytes. */
const MOST_BYTES = 2 ** 29;

/** A GGUF file, open for reading. */
export class GgufFile extends CheckpointFile {
  private constructor(
    path: string,
    readonly metadata: ReadonlyMap<string, GgufValue>,
    readonly byteLength: number,
    file: Deno.FsFile,
    readonly tensors = new Map<string, GgufTensor>(),
  ) {
    super(path, file);
  }

  /** Opens a file and checks its header; throws a {@linkcode CheckpointError} when it is malformed. */
  static async open(path: string): Promise<GgufFile> {
    const file = await openForReading(path);
    try {
      const { size } = await file.stat();
      const { metadata, entries, start } = await readHeader(file, path, size);
      const opened = new GgufFile(path, metadata, size, file);
      for (const entry of entries) opened.#add(entry, start);
      return opened;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  #add({ name, shape, typeId, offset }: Entry, start: number): void {
    const type = findGgufType(typeId);
    const columns = shape[shape.length - 1] ?? 1;
    if (this.tensors.has(name)) throw malformed(this.path, "names that differ", `"${name}" twice`);
    if (columns % type.blockElements !== 0) {
      const expected = `rows of a multiple of ${type.blockElements} for ${type.name}`;
      throw malformed(this.path, expected, `${columns} in "${name}"`);
    }
    const blocks = shape.reduce((product, size) => product * size, 1) / type.blockElements;
    const byteLength = blocks * type.blockBytes;
    const byteOffset = start + offset;
    if (!Number.isSafeInteger(byteLength) || byteOffset + byteLength > this.byteLength) {
      throw truncated(
        this.path,
        `${byteLength} bytes of "${name}" at ${byteOffset}`,
        this.byteLength,
      );
    }
    this.tensors.set(name, { name, type, shape, byteOffset, byteLength, file: this });
  }
}

interface Entry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly typeId: number;
  readonly offset: number;
}

interface Header {
  readonly metadata: Map<string, GgufValue>;
  readonly entries: readonly Entry[];
  /** Offset of the data. */
  readonly start: number;
}

/** Nothing says how long a header is: it is read again with twice as much until it fits. */
async function readHeader(file: Deno.FsFile, path: string, size: number): Promise<Header> {
  for (let length = Math.min(FIRST_BYTES, size);; length = Math.min(2 * length, size)) {
    const bytes = new Uint8Array(length);
    await file.seek(0, Deno.SeekMode.Start);
    await readFully(file, bytes, path);
    try {
      return parseHeader(bytes, path);
    } catch (error) {
      if (!(error instanceof NeedsMoreBytes)) throw error;
      if (length === size) throw truncated(path, "a whole header", size);
      if (length >= MOST_BYTES) {
        throw malformed(path, `a header of at most ${MOST_BYTES} bytes`, "a longer one");
      }
    }
  }
}

function parseHeader(bytes: Uint8Array<ArrayBuffer>, path: string): Header {
  const reader = new GgufReader(bytes, (expected, got) => malformed(path, expected, got));
  const magic = reader.text(4);
  if (magic !== "GGUF") {
    const lfs = magic === "vers"; // what git checks out when git-lfs is not installed
    throw malformed(
      path,
      '"GGUF" at its beginning',
      lfs ? "a pointer of git-lfs" : JSON.stringify(magic),
      lfs ? "Run git lfs pull in the folder" : undefined,
    );
  }
  const version = reader.u32();
  if (!VERSIONS.includes(version)) {
    const hint = version > 2 ** 16 ? "The file is of a big-endian machine: convert it" : undefined;
    throw malformed(path, `version ${VERSIONS.join(" or ")}`, String(version), hint);
  }
  const [tensorCount, keyCount] = [reader.u64(), reader.u64()];
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) metadata.set(reader.string(), reader.value());
  const entries: Entry[] = [];
  for (let i = 0; i < tensorCount; i++) {
    const name = reader.string();
    const dimensions = reader.u32();
    if (dimensions > 4) throw malformed(path, "at most 4 dimensions", `${dimensions} of "${name}"`);
    const shape = Array.from({ length: dimensions }, () => reader.u64()).reverse();
    entries.push({ name, shape, typeId: reader.u32(), offset: reader.u64() });
  }
  const alignment = Number(metadata.get("general.alignment") ?? 32);
  if (!Number.isInteger(alignment) || alignment <= 0 || alignment % 8 !== 0) {
    throw malformed(path, "an alignment that is a multiple of 8", String(alignment));
  }
  return { metadata, entries, start: Math.ceil(reader.at / alignment) * alignment };
}

function malformed(path: string, expected: string, got: string, hint?: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/malformed",
    `Cannot read checkpoint file "${path}": expected ${expected}, got ${got}`,
    { hint: hint ?? "Download the file again: it is not a valid GGUF file", details: { path } },
  );
}
