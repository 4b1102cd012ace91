/**
 * Small models whose matrices are of one GGUF type: made of blocks that ggml quantized, with the numbers
 * that ggml dequantizes them to.
 *
 * @module
 */

import { invariant } from "../../graph/mod.ts";
import { GGUF_TYPES, type GgufType } from "../../models/gguf/gguf_types.ts";
import {
  type DialectSizes,
  type MatrixWriter,
  plainMatrix,
  type Random,
  type StoredMatrix,
  tensorOf,
  writeDialectModel,
} from "./dialect_model.ts";
import { ggufMetadata, ggufTensors, inF32, type RealTensor } from "./gguf_models.ts";
import { readSafetensors } from "./safetensors.ts";
import { encodeGguf, type GgufTensorToWrite } from "./write_gguf.ts";

interface Blocks {
  readonly cases: readonly {
    readonly type: string;
    /** Bytes as base64: blocks, and f32 numbers. */
    readonly bytes: string;
    readonly values: string;
  }[];
}

const BLOCKS: Blocks = JSON.parse(
  await Deno.readTextFile(new URL("../golden/gguf/blocks.json", import.meta.url)),
);

interface Block {
  readonly bytes: Uint8Array;
  readonly values: Float32Array;
}

/** Finds a type by its name. */
export function ggufType(name: string): GgufType {
  const type = GGUF_TYPES.find((each) => each.name === name);
  invariant(type, `there is a GGUF type ${name}`);
  return type;
}

function blocksOf({ name, blockBytes, blockElements }: GgufType): Block[] {
  const golden = BLOCKS.cases.find(({ type }) => type === name);
  invariant(golden, `${name} has golden blocks`);
  const bytes = Uint8Array.fromBase64(golden.bytes);
  const values = new Float32Array(Uint8Array.fromBase64(golden.values).buffer);
  return Array.from({ length: bytes.length / blockBytes }, (_, i) => ({
    bytes: bytes.subarray(i * blockBytes, (i + 1) * blockBytes),
    values: values.subarray(i * blockElements, (i + 1) * blockElements),
  }));
}

const keyOf = (values: Float32Array) => values.join();

/** Numbers as a plain type stores them. */
function storePlain(values: Float32Array<ArrayBuffer>, dtype: "f32" | "f16" | "bf16"): Uint8Array {
  if (dtype === "f32") return new Uint8Array(values.buffer);
  if (dtype === "f16") return new Uint8Array(Float16Array.from(values).buffer);
  const bits = new Uint32Array(values.buffer);
  return new Uint8Array(Uint16Array.from(bits, (word) => word >>> 16).buffer);
}

/** Matrices of random blocks of a type; plain where its blocks do not fit the rows. */
function blockWriter(type: GgufType): MatrixWriter {
  const blocks = type.packed ? blocksOf(type) : [];
  return (random, rows, columns) => {
    if (type.plain || columns % type.blockElements > 0) return roundedMatrix(random, rows, columns);
    const values = new Float32Array(rows * columns);
    for (let at = 0; at < values.length; at += type.blockElements) {
      values.set(blocks[random.below(blocks.length)].values, at);
    }
    return { tensors: { weight: tensorOf("F32", [rows, columns], values) }, values };
  };
}

/** Numbers that every plain type holds: seven bits. */
function roundedMatrix(random: Random, rows: number, columns: number): StoredMatrix {
  const { values } = plainMatrix(random, rows, columns);
  const rounded = values.map((value) => Math.round(value * 256) / 256);
  return { tensors: { weight: tensorOf("F32", [rows, columns], rounded) }, values: rounded };
}

function store(type: GgufType, { shape, values }: RealTensor): GgufTensorToWrite {
  if (type.plain) return { type: type.id, shape, data: storePlain(values, type.plain) };
  const found = new Map(blocksOf(type).map((block) => [keyOf(block.values), block.bytes]));
  const data = new Uint8Array(values.length / type.blockElements * type.blockBytes);
  for (let at = 0, place = 0; at < values.length; at += type.blockElements) {
    const bytes = found.get(keyOf(values.subarray(at, at + type.blockElements)));
    invariant(bytes, `a block of ${type.name} has these numbers`);
    data.set(bytes, place);
    place += type.blockBytes;
  }
  return { type: type.id, shape, data };
}

const MATRIX = /\.(attn_(q|k|v|output)|ffn_\w+_exps)\.weight$/;

/**
 * Writes `model.gguf` with its matrices in a type, and `plain/`, a model folder of the same numbers;
 * `spoil` may change the tensors of the former.
 */
export async function writeTypedModel(
  folder: string,
  type: GgufType,
  sizes: DialectSizes,
  spoil: (tensors: Record<string, GgufTensorToWrite>) => void = () => {},
): Promise<{ readonly packed: string; readonly plain: string }> {
  const folders = { packed: `${folder}/unused`, plain: `${folder}/plain` };
  for (const each of Object.values(folders)) await Deno.mkdir(each);
  await writeDialectModel(folders, sizes, {}, blockWriter(type));
  const config = JSON.parse(await Deno.readTextFile(`${folders.plain}/config.json`));
  const named = { ...config, rope_parameters: { rope_theta: config.rope_theta } };
  const file = new URL(`file://${folders.plain}/model.safetensors`);
  const tensors = ggufTensors(named, await readSafetensors(file));
  const stored = Object.fromEntries([...tensors].map(([name, real]) => {
    const fits = (real.shape.at(-1) ?? 0) % type.blockElements === 0;
    return [name, MATRIX.test(name) && fits ? store(type, real) : inF32(real)];
  }));
  spoil(stored);
  const packed = `${folder}/model.gguf`;
  await Deno.writeFile(packed, encodeGguf(ggufMetadata(named), stored));
  return { packed, plain: folders.plain };
}
