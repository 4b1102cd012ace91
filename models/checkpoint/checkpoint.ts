/**
 * The tensors of a model folder, in one safetensors file or in shards with an index.
 *
 * @module
 */

import { basename, join } from "node:path";
import { z } from "../../deps/zod.ts";
import {
  CheckpointError,
  type DType,
  formatShape,
  tensor,
  type TensorSource,
  type TensorWeight,
} from "../../graph/mod.ts";
import { isFile, readJson } from "./json_file.ts";
import { nearestTensor } from "./nearest_tensor.ts";
import {
  SafetensorsFile,
  type TensorInfo,
  type UnreadableTensor,
  unreadableType,
} from "./safetensors.ts";
import { ValueCheck } from "./value_check.ts";

const SINGLE_FILE = "model.safetensors";
const INDEX_FILE = "model.safetensors.index.json";

/** What tensors are read from: a file, or something that stands for one. */
export interface TensorFile {
  /** Tensors in types that are not read. */
  readonly unreadable: ReadonlyMap<string, UnreadableTensor>;
  /** Fills `out` with the bytes from an offset on. */
  readInto(byteOffset: number, out: Uint8Array<ArrayBuffer>): Promise<void>;
  close(): Promise<void>;
  /** Path that stands for all of a checkpoint, as that of a GGUF file does. */
  readonly reopenPath?: string;
}

/** Element types of weights that are numbers as they stand. */
const PLAIN_TYPES: readonly DType[] = ["f32", "f16", "bf16"];

const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/**
 * The tensors of a model by name. Opening it reads the headers only; files stay open for reading
 * until {@linkcode Checkpoint.close}.
 *
 * @example
 * ```ts
 * import { Checkpoint } from "./checkpoint.ts";
 * await using checkpoint = await Checkpoint.open("demo/storyteller");
 * const norm = checkpoint.tensor("model.norm.weight", [256]);
 * console.assert(norm.dtype === "bf16");
 * console.assert((await checkpoint.read(norm.name, 0, 512)).length === 512);
 * ```
 */
export class Checkpoint implements TensorSource {
  /** Bytes of all tensors. */
  readonly bytes: number;
  readonly #values = new ValueCheck();
  readonly #others: string[] = [];
  /** Tensors in types that are not read, such as F64; an error when one is asked for. */
  readonly unreadable: ReadonlyMap<string, UnreadableTensor>;

  constructor(
    readonly folder: string,
    readonly tensors: ReadonlyMap<string, TensorInfo>,
    readonly files: ReadonlyMap<string, TensorFile>,
    /** Notes about the files for the user. */
    readonly notes: readonly string[] = [],
  ) {
    this.unreadable = new Map([...files.values()].flatMap((file) => [...file.unreadable]));
    this.bytes = [...tensors.values(), ...this.unreadable.values()]
      .reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Opens the checkpoint of a folder; a single file wins over an index, as in transformers. */
  static async open(folder: string): Promise<Checkpoint> {
    const hasIndex = await isFile(join(folder, INDEX_FILE));
    if (await isFile(join(folder, SINGLE_FILE))) {
      const file = await SafetensorsFile.open(join(folder, SINGLE_FILE));
      const notes = hasIndex
        ? [`${SINGLE_FILE} is read, ${INDEX_FILE} beside it is not, as in transformers`]
        : [];
      return new Checkpoint(folder, file.tensors, new Map([[file.path, file]]), notes);
    }
    if (hasIndex) return await openShards(folder);
    throw new CheckpointError(
      "checkpoint/missing-weights",
      `Cannot open checkpoint "${folder}": expected ${SINGLE_FILE} or ${INDEX_FILE}, got neither`,
      { hint: "Download the weights as safetensors, or convert them", details: { folder } },
    );
  }

  has(name: string): boolean {
    return this.tensors.has(name) || this.unreadable.has(name);
  }

  /** Where a tensor is; an error that suggests a name when there is none. */
  info(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (info) return info;
    const unreadable = this.unreadable.get(name);
    if (unreadable) throw unreadableType(unreadable);
    const near = nearestTensor([name], this.tensors.keys());
    throw new CheckpointError(
      "checkpoint/missing-tensor",
      `Cannot find tensor "${name}": expected it in checkpoint "${this.folder}", got ${this.tensors.size} others`,
      {
        hint: near === undefined
          ? "Check that config.json belongs to these weights"
          : `Did you mean "${near}"? If not, check that config.json belongs to these weights`,
        details: { tensor: name, folder: this.folder },
      },
    );
  }

  /** A tensor as a weight; an error when it has another shape, or none of the types. */
  tensor(name: string, shape: readonly number[], types = PLAIN_TYPES): TensorWeight {
    const info = this.info(name);
    if (!types.includes(info.dtype)) {
      throw new CheckpointError(
        "checkpoint/dtype",
        `Cannot use tensor "${name}" of "${basename(info.file)}": expected ${
          types.join(" or ")
        }, got ${info.dtype}`,
        {
          hint: "Check that config.json and its quantization_config belong to these weights",
          details: { tensor: name, expected: types, found: info.dtype, file: info.file },
        },
      );
    }
    if (String(info.shape) !== String(shape)) {
      throw new CheckpointError(
        "checkpoint/shape",
        `Cannot use tensor "${name}": expected shape ${formatShape(shape)}, got ${
          formatShape(info.shape)
        }`,
        {
          hint: "Check that config.json belongs to these weights",
          details: { tensor: name, expected: shape, found: info.shape, file: info.file },
        },
      );
    }
    return tensor(name, info.dtype, shape);
  }

  /** Names of the tensors that are not among the given ones, in the order of the files. */
  unused(consumed: Iterable<string>): string[] {
    const used = new Set(consumed);
    return [...this.tensors.keys(), ...this.unreadable.keys()].filter((name) => !used.has(name));
  }

  async readInto(name: string, byteOffset: number, out: Uint8Array<ArrayBuffer>): Promise<void> {
    const info = this.info(name);
    if (byteOffset < 0 || byteOffset + out.length > info.byteLength) {
      throw new RangeError(
        `Bytes ${byteOffset} to ${
          byteOffset + out.length
        } of tensor "${name}", which has ${info.byteLength}`,
      );
    }
    const file = this.files.get(info.file);
    if (!file) throw new RangeError(`No file of tensor "${name}" is open`);
    await file.readInto(info.byteOffset + byteOffset, out);
    await this.#values.check(info, out, (at, part) => file.readInto(info.byteOffset + at, part));
  }

  async read(
    name: string,
    byteOffset: number,
    byteLength: number,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(byteLength);
    await this.readInto(name, byteOffset, bytes);
    return bytes;
  }

  /** Notes for the user that come from reading the weights. */
  get findings(): string[] {
    return [...new Set([...this.#values.findings, ...this.#others])];
  }

  /** Whether each tensor is a range of its file as it stands, so that any thread can read it there. */
  get hasPlaces(): boolean {
    return [...this.files.values()].every((file) => file instanceof SafetensorsFile);
  }

  /** Path of the file that another thread opens to read the same tensors, if they have no places. */
  get reopenPath(): string | undefined {
    const files = [...this.files.values()];
    return files.length === 1 ? files[0].reopenPath : undefined;
  }

  /** Adds what other readers of the same files have found. */
  addFindings(findings: readonly string[]): void {
    this.#others.push(...findings);
  }

  /** Closes the files. */
  async close(): Promise<void> {
    await closeAll(this.files.values());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function openShards(folder: string): Promise<Checkpoint> {
  const indexPath = join(folder, INDEX_FILE);
  const parsed = indexSchema.safeParse(await readJson(indexPath));
  if (!parsed.success) {
    throw malformedIndex(indexPath, parsed.error.issues[0].message);
  }
  const weightMap = parsed.data.weight_map;
  const files = new Map<string, SafetensorsFile>();
  try {
    for (const name of new Set(Object.values(weightMap))) {
      if (!isFileName(name)) throw malformedIndex(indexPath, `file name "${name}"`);
      const file = await SafetensorsFile.open(join(folder, name));
      files.set(file.path, file);
    }
    return new Checkpoint(folder, mergeShards(folder, weightMap, files), files);
  } catch (error) {
    await closeAll(files.values());
    throw error;
  }
}

/** The name of a file beside the index, not a path to another place. */
function isFileName(name: string): boolean {
  return name !== "" && name !== "." && name !== ".." && !/[/\\\0]/.test(name);
}

function malformedIndex(path: string, got: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/malformed-index",
    `Cannot read index "${path}": expected a "weight_map" of tensor names to files beside it, got ${got}`,
    { hint: "Download the index again", details: { path } },
  );
}

function mergeShards(
  folder: string,
  weightMap: Record<string, string>,
  files: ReadonlyMap<string, SafetensorsFile>,
): Map<string, TensorInfo> {
  const tensors = new Map<string, TensorInfo>();
  for (const [name, shard] of Object.entries(weightMap)) {
    const file = files.get(join(folder, shard));
    const info = file?.tensors.get(name);
    if (!info) {
      if (file?.unreadable.has(name)) continue;
      throw new CheckpointError(
        "checkpoint/index-mismatch",
        `Cannot find tensor "${name}": expected it in "${shard}", as the index says, got none`,
        { hint: "Download index and shards of one revision", details: { tensor: name, shard } },
      );
    }
    tensors.set(name, info);
  }
  // Tensors that the index does not list are loaded too, as transformers does.
  for (const file of files.values()) {
    for (const [name, info] of file.tensors) if (!tensors.has(name)) tensors.set(name, info);
  }
  return tensors;
}

async function closeAll(files: Iterable<TensorFile>): Promise<void> {
  await Promise.all([...files].map((file) => file.close()));
}
