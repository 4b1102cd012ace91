/**
 * One safetensors file: its header, checked, and reads of byte ranges.
 *
 * Format (https://huggingface.co/docs/safetensors): u64 length of the header, the header as JSON
 * (`name -> { dtype, shape, data_offsets: [begin, end] }`, plus `__metadata__`), then the data that
 * the offsets count from. The data has neither gaps nor overlaps.
 *
 * @module
 */

import { basename } from "node:path";
import { z } from "../../deps/zod.ts";
import {
  CheckpointError,
  type DType,
  DTYPE_BYTES,
  elementCount,
  formatShape,
  messageOf,
} from "../../graph/mod.ts";
import { CheckpointFile, openForReading, readFully, truncated } from "./checkpoint_file.ts";
import { LFS_POINTER, lfsPointer } from "./json_file.ts";

/** Where a tensor lies in a file. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Path of the file. */
  readonly file: string;
  /** Offset of the first byte in the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
  /** Names of the file's tensors that this one is made of, where it is a view of others. */
  readonly madeOf?: readonly string[];
}

/** A tensor in a type that is not read; it matters only to those who ask for it. */
export interface UnreadableTensor {
  readonly name: string;
  /** Type by its name in the header. */
  readonly type: string;
  readonly shape: readonly number[];
  readonly file: string;
  readonly byteLength: number;
}

/** Element types by their names in a header. */
const DTYPES: Readonly<Record<string, DType>> = {
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  F8_E4M3: "f8_e4m3",
  F8_E8M0: "f8_e8m0",
  U8: "u8",
  I8: "i8",
  I32: "i32",
  U32: "u32",
  I64: "i64",
  BOOL: "bool",
};

/** Longer headers are refused, as the reference implementation does. */
const MAX_HEADER_BYTES = 100_000_000;

const size = z.int().nonnegative();
const entrySchema = z.object({
  dtype: z.string(),
  shape: z.array(size),
  data_offsets: z.tuple([size, size]),
});
const headerSchema = z.record(z.string(), z.unknown());

/** A safetensors file, open for reading. */
export class SafetensorsFile extends CheckpointFile {
  private constructor(
    path: string,
    readonly tensors: ReadonlyMap<string, TensorInfo>,
    /** Tensors in types that are not read. */
    readonly unreadable: ReadonlyMap<string, UnreadableTensor>,
    readonly metadata: Readonly<Record<string, unknown>>,
    readonly byteLength: number,
    file: Deno.FsFile,
  ) {
    super(path, file);
  }

  /** Opens a file and checks its header; throws a {@linkcode CheckpointError} when it is malformed. */
  static async open(path: string): Promise<SafetensorsFile> {
    const file = await openForReading(path);
    try {
      const { size } = await file.stat();
      const { start, json } = await readHeader(file, path, size);
      const { __metadata__, ...entries } = parseHeader(json, path);
      const { tensors, unreadable, places } = readEntries(entries, path, start);
      checkLayout(places, path, start, size);
      const metadata = headerSchema.safeParse(__metadata__);
      return new SafetensorsFile(
        path,
        tensors,
        unreadable,
        metadata.success ? metadata.data : {},
        size,
        file,
      );
    } catch (error) {
      file.close();
      throw error;
    }
  }
}

async function readHeader(file: Deno.FsFile, path: string, fileBytes: number) {
  if (fileBytes < 8) throw truncated(path, "at least 8 bytes", fileBytes);
  const prefix = new Uint8Array(8);
  await readFully(file, prefix, path);
  if (new TextDecoder().decode(prefix) === LFS_POINTER.slice(0, 8)) {
    throw lfsPointer(path, fileBytes);
  }
  const length = Number(new DataView(prefix.buffer).getBigUint64(0, true));
  if (length > MAX_HEADER_BYTES) {
    throw malformed(path, `a header of at most ${MAX_HEADER_BYTES} bytes`, `${length}`);
  }
  if (8 + length > fileBytes) throw truncated(path, `a header of ${length} bytes`, fileBytes);
  const json = new Uint8Array(length);
  await readFully(file, json, path);
  return { start: 8 + length, json };
}

function parseHeader(json: Uint8Array, path: string): Record<string, unknown> {
  try {
    return headerSchema.parse(
      JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json)),
    );
  } catch (cause) {
    const got = cause instanceof z.ZodError ? "another JSON value" : messageOf(cause);
    throw malformed(path, "a JSON object as header", got, cause);
  }
}

/** Where the data of a tensor lie, whatever their type. */
interface Place {
  readonly name: string;
  readonly byteOffset: number;
  readonly byteLength: number;
}

function readEntries(entries: Record<string, unknown>, path: string, start: number) {
  const tensors = new Map<string, TensorInfo>();
  const unreadable = new Map<string, UnreadableTensor>();
  const places: Place[] = [];
  for (const [name, entry] of Object.entries(entries)) {
    const { dtype: type, shape, data_offsets: [begin, end] } = parseEntry(name, entry, path);
    const place = { name, byteOffset: start + begin, byteLength: end - begin };
    places.push(place);
    const dtype = Object.hasOwn(DTYPES, type) ? DTYPES[type] : undefined;
    if (dtype === undefined) {
      unreadable.set(name, { name, type, shape, file: path, byteLength: end - begin });
      continue;
    }
    const bytes = elementCount(shape) * DTYPE_BYTES[dtype];
    if (end - begin !== bytes) {
      throw malformed(
        path,
        `${bytes} bytes for tensor "${name}" (${type} ${formatShape(shape)})`,
        `offsets ${begin} to ${end}`,
      );
    }
    tensors.set(name, { ...place, dtype, shape, file: path });
  }
  return { tensors, unreadable, places };
}

function parseEntry(name: string, entry: unknown, path: string): z.output<typeof entrySchema> {
  const parsed = entrySchema.safeParse(entry);
  if (parsed.success && parsed.data.data_offsets[0] <= parsed.data.data_offsets[1]) {
    return parsed.data;
  }
  const got = parsed.success
    ? `offsets ${parsed.data.data_offsets.join(" to ")} of "${name}"`
    : `${parsed.error.issues[0].message} at ${[name, ...parsed.error.issues[0].path].join(".")}`;
  throw malformed(path, "dtype, shape and data_offsets of every tensor", got);
}

/** The error of asking for a tensor in a type that is not read. */
export function unreadableType({ name, type, file }: UnreadableTensor): CheckpointError {
  return new CheckpointError(
    "checkpoint/dtype",
    `Cannot read tensor "${name}" of "${basename(file)}": expected one of ${
      Object.keys(DTYPES).join(", ")
    }, got ${type}`,
    { hint: "Convert the checkpoint, for example to BF16", details: { path: file, tensor: name } },
  );
}

/** Checks that the tensors cover the data exactly. */
function checkLayout(places: Place[], path: string, start: number, fileBytes: number): void {
  places.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let end = start;
  for (const { name, byteOffset, byteLength } of places) {
    if (byteOffset !== end) {
      throw malformed(
        path,
        `tensor "${name}" to begin at ${end - start}, where the one before ends`,
        `${byteOffset - start}${byteOffset < end ? ": they overlap" : ""}`,
      );
    }
    end += byteLength;
  }
  if (end > fileBytes) throw truncated(path, `${end} bytes, as its header says`, fileBytes);
  if (end < fileBytes) {
    throw malformed(path, `${end} bytes, as its header says`, `${fileBytes - end} more`);
  }
}

function malformed(path: string, expected: string, got: string, cause?: unknown): CheckpointError {
  return new CheckpointError(
    "checkpoint/malformed",
    `Cannot read checkpoint file "${path}": expected ${expected}, got ${got}`,
    {
      hint: "Download the file again: it is not a valid safetensors file",
      cause,
      details: { path },
    },
  );
}
