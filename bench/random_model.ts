/**
 * Models with random weights, written as folders in Hugging Face's form: what a released model of the same
 * sizes costs, without a download.
 *
 * The architecture itself says which tensors it reads, so that nothing here knows their names by family.
 *
 * @module
 */

import { type DType, DTYPE_BYTES, elementCount, tensor, type TensorWeight } from "../graph/mod.ts";
import {
  Checkpoint,
  findArchitecture,
  normalizeConfig,
  readQuantization,
  type TensorInfo,
} from "../models/mod.ts";

/** A tensor that a model has. */
export interface WantedTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: number;
}

type Config = Readonly<Record<string, unknown>>;

/** Writes of a few MB. */
const WRITE_BYTES = 16 * 2 ** 20;
/** Numbers are made once and written again and again: more than a cache holds, fewer for a small model. */
const BLOCK_BYTES = { most: 64 * 2 ** 20, least: 2 ** 18, share: 1 / 64 };

/** Element types by their names in a header. */
const TYPE_NAMES: Partial<Record<DType, string>> = { bf16: "BF16", u8: "U8" };

/** The tensors of a model, in the order in which its architecture asks for them. */
export function wantedTensors(config: Config): readonly WantedTensor[] {
  const raw = normalizeConfig(config, "config.json");
  const recorder = new Recorder();
  findArchitecture(raw, "config.json").configure(raw, "config.json")
    .build(recorder, readQuantization(raw.quantization_config, undefined, "config.json"));
  return [...recorder.wanted.values()];
}

/**
 * Writes a model: a shard for each layer, and one for what is outside of layers. `onBytes` is told how far
 * it is.
 */
export async function writeRandomModel(
  folder: string,
  config: Config,
  onBytes: (done: number, total: number) => void = () => {},
): Promise<void> {
  const tensors = wantedTensors(config);
  const total = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
  const { most, least, share } = BLOCK_BYTES;
  const numbers = randomNumbers(Math.min(most, Math.max(least, total * share)));
  let done = 0;
  for (const [shard, members] of shardsOf(tensors)) {
    for await (const bytes of writeShard(`${folder}/${shard}`, members, numbers)) {
      onBytes(done += bytes, total);
    }
  }
  await useLayers(folder, config);
}

/** Makes a model of the first layers of the one that was written: other shards are no longer named. */
export async function useLayers(folder: string, config: Config): Promise<void> {
  const shards = [...shardsOf(wantedTensors(config))];
  const weightMap = Object.fromEntries(
    shards.flatMap(([shard, members]) => members.map(({ name }) => [name, shard])),
  );
  await Deno.writeTextFile(
    `${folder}/model.safetensors.index.json`,
    JSON.stringify({ metadata: {}, weight_map: weightMap }),
  );
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
}

/** A checkpoint that has whatever is asked for, and remembers it. */
class Recorder extends Checkpoint {
  readonly wanted = new Map<string, WantedTensor>();

  constructor() {
    super("random", new Map(), new Map());
  }

  /** One matrix an expert, or the packed stacks of gpt-oss. */
  override has(name: string): boolean {
    return name.endsWith(".weight") || name.endsWith("_proj_blocks");
  }

  override info(name: string): TensorInfo {
    const { dtype, shape } = this.wanted.get(name) ?? { dtype: "bf16", shape: [1] };
    return { name, dtype, shape, byteOffset: 0, byteLength: 0, file: "random" };
  }

  override tensor(
    name: string,
    shape: readonly number[],
    types: readonly DType[] = ["bf16"],
  ): TensorWeight {
    const dtype = types.includes("bf16") ? "bf16" : types[0];
    const bytes = elementCount(shape) * DTYPE_BYTES[dtype];
    this.wanted.set(name, { name, dtype, shape, bytes });
    return tensor(name, dtype, shape);
  }

  override unused(): string[] {
    return [];
  }
}

function shardsOf(tensors: readonly WantedTensor[]): Map<string, WantedTensor[]> {
  return Map.groupBy(tensors, ({ name }) => {
    const layer = name.match(/\.layers\.(\d+)\./)?.[1];
    return `model-${layer === undefined ? "outside" : layer.padStart(5, "0")}.safetensors`;
  });
}

/** Writes a safetensors file; gives the number of bytes after each write. */
async function* writeShard(
  path: string,
  tensors: readonly WantedTensor[],
  numbers: RandomNumbers,
): AsyncGenerator<number> {
  using file = await Deno.open(path, { write: true, create: true, truncate: true });
  const header: Record<string, unknown> = {};
  let end = 0;
  for (const { name, dtype, shape, bytes } of tensors) {
    header[name] = { dtype: TYPE_NAMES[dtype], shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  await writeAll(file, length);
  await writeAll(file, text);
  for (const [at, wanted] of tensors.entries()) {
    for (const part of partsOf(wanted, at, numbers)) {
      await writeAll(file, part);
      yield part.length;
    }
  }
}

/** The bytes of a tensor, from another place of the block than its neighbours'. */
function* partsOf(
  wanted: WantedTensor,
  at: number,
  numbers: RandomNumbers,
): Generator<Uint8Array<ArrayBuffer>> {
  const block = blockOf(wanted, numbers);
  let from = (at * 1048583 * 16) % block.length;
  for (let left = wanted.bytes; left > 0;) {
    const size = Math.min(left, WRITE_BYTES, block.length - from);
    yield block.subarray(from, from + size);
    left -= size;
    from = (from + size) % block.length;
  }
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await file.write(bytes.subarray(done));
}

/** Blocks of numbers of several kinds, of equal length. */
interface RandomNumbers {
  /** bf16 of ±0.035, whose deviation is that of transformers' initial weights, 0.02. */
  readonly small: Uint8Array<ArrayBuffer>;
  /** bf16 of ±1.75, for embeddings. */
  readonly large: Uint8Array<ArrayBuffer>;
  /** bf16 ones, for norms. */
  readonly ones: Uint8Array<ArrayBuffer>;
  /** Any byte: two codes of MXFP4. */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** Exponents that make such codes about as large as the small numbers. */
  readonly scales: Uint8Array<ArrayBuffer>;
}

function blockOf({ name, dtype, shape }: WantedTensor, numbers: RandomNumbers) {
  if (dtype === "u8") return name.endsWith("_scales") ? numbers.scales : numbers.codes;
  if (/norm[^.]*\.weight$/.test(name)) return numbers.ones;
  return shape.length > 1 && /embed/.test(name) ? numbers.large : numbers.small;
}

function randomNumbers(bytes: number): RandomNumbers {
  const words = Math.ceil(bytes / 4);
  const codes = new Uint32Array(words);
  let state = 1;
  for (let i = 0; i < words; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    // The lowest bits of such a generator have short periods.
    codes[i] = state ^ (state >>> 15);
  }
  const halves = new Uint16Array(codes.buffer);
  const random = new Uint8Array(codes.buffer);
  return {
    small: uniform(halves, 0.035),
    large: uniform(halves, 1.75),
    ones: new Uint8Array(new Uint16Array(halves.length).fill(0x3f80).buffer),
    codes: random,
    scales: random.map((byte) => 119 + byte % 4),
  };
}

/** bf16 numbers between -size and size: the upper halves of f32 ones. */
function uniform(halves: Uint16Array, size: number): Uint8Array<ArrayBuffer> {
  const table = new Uint16Array(65536);
  const number = new Float32Array(1);
  const bits = new Uint32Array(number.buffer);
  for (let i = 0; i < table.length; i++) {
    number[0] = size * (i / 32767.5 - 1);
    table[i] = bits[0] >>> 16;
  }
  return new Uint8Array(Uint16Array.from(halves, (half) => table[half]).buffer);
}
