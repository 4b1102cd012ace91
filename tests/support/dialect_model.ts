/**
 * Small random models in the dialects of quantized checkpoints: each writes its tensors by the formulas
 * of those who invented it, and says what numbers they stand for.
 *
 * @module
 */

import type { HostArray } from "../../graph/mod.ts";
import type { TensorToWrite } from "./write_safetensors.ts";
import { encodeSafetensors } from "./write_safetensors.ts";

/** Sizes of a model of one layer in Qwen3-MoE's form. */
export interface DialectSizes {
  readonly hidden: number;
  readonly intermediate: number;
}

const EXPERTS = 5;
const HEADS = 4;
const KV_HEADS = 2;
const HEAD_DIM = 8;
const VOCABULARY = 33;

/** A matrix as a dialect stores it. */
export interface StoredMatrix {
  /** Tensors by the last part of their names. */
  readonly tensors: Readonly<Record<string, TensorToWrite>>;
  /** The numbers, row by row. */
  readonly values: Float32Array<ArrayBuffer>;
}

/** Random numbers that come again in every run. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed * 2654435761 + 12345;
  }

  /** A number from 0 up to `end`, whole. */
  below(end: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) | 0;
    return Math.floor((this.#state >>> 8) / 2 ** 24 * end);
  }

  /** Between -1 and 1. */
  unit(): number {
    return this.below(2 ** 20) / 2 ** 19 - 1;
  }

  list(length: number, make: (index: number) => number): number[] {
    return Array.from({ length }, (_, i) => make(i));
  }
}

/** Writes one matrix [rows, columns] of a dialect; `module` is its path. */
export type MatrixWriter = (
  random: Random,
  rows: number,
  columns: number,
  module: string,
) => StoredMatrix;

/** The parts of a config.json that a dialect adds. */
export type DialectConfig = Readonly<Record<string, unknown>>;

/** A tensor of any array. */
export function tensorOf(dtype: string, shape: readonly number[], data: HostArray): TensorToWrite {
  return { dtype, shape, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}

/** A matrix that the dialect left plain. */
export function plainMatrix(random: Random, rows: number, columns: number): StoredMatrix {
  const values = Float32Array.from(random.list(rows * columns, () => random.unit() / 4));
  return { tensors: { weight: tensorOf("F32", [rows, columns], values) }, values };
}

/**
 * Writes two model folders: `packed` in the dialect, and `plain` with the numbers that it stands for.
 * Attention and experts are written by `write`, all else is plain in both.
 */
export async function writeDialectModel(
  folders: { readonly packed: string; readonly plain: string },
  { hidden, intermediate }: DialectSizes,
  quantization: DialectConfig,
  write: MatrixWriter,
): Promise<void> {
  const random = new Random(7);
  const packed: Record<string, TensorToWrite> = {};
  const plain: Record<string, TensorToWrite> = {};
  const layer = "model.layers.0";
  const both = (name: string, shape: number[], make: () => number) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const values = Float32Array.from(random.list(count, make));
    packed[name] = plain[name] = tensorOf("F32", shape, values);
  };
  const matrix = (module: string, rows: number, columns: number) => {
    const { tensors, values } = write(random, rows, columns, module);
    for (const [name, tensor] of Object.entries(tensors)) packed[`${module}.${name}`] = tensor;
    plain[`${module}.weight`] = tensorOf("F32", [rows, columns], values);
  };
  const near1 = () => 1 + random.unit() / 8;
  both("model.embed_tokens.weight", [VOCABULARY, hidden], () => random.unit());
  for (const norm of ["input_layernorm", "post_attention_layernorm"]) {
    both(`${layer}.${norm}.weight`, [hidden], near1);
  }
  for (const norm of ["q_norm", "k_norm"]) {
    both(`${layer}.self_attn.${norm}.weight`, [HEAD_DIM], near1);
  }
  matrix(`${layer}.self_attn.q_proj`, HEADS * HEAD_DIM, hidden);
  matrix(`${layer}.self_attn.k_proj`, KV_HEADS * HEAD_DIM, hidden);
  matrix(`${layer}.self_attn.v_proj`, KV_HEADS * HEAD_DIM, hidden);
  matrix(`${layer}.self_attn.o_proj`, hidden, HEADS * HEAD_DIM);
  both(`${layer}.mlp.gate.weight`, [EXPERTS, hidden], () => random.unit());
  for (let expert = 0; expert < EXPERTS; expert++) {
    const module = `${layer}.mlp.experts.${expert}`;
    matrix(`${module}.gate_proj`, intermediate, hidden);
    matrix(`${module}.up_proj`, intermediate, hidden);
    matrix(`${module}.down_proj`, hidden, intermediate);
  }
  both("model.norm.weight", [hidden], near1);
  both("lm_head.weight", [VOCABULARY, hidden], () => random.unit());
  const config = configOf({ hidden, intermediate });
  await writeFolder(folders.plain, config, plain);
  await writeFolder(folders.packed, { ...config, ...quantization }, packed);
}

/** Token ids of a prompt that fits the vocabulary. */
export const PROMPT = [3, 14, 15, 9, 26, 5, 32, 0, 17];

function configOf({ hidden, intermediate }: DialectSizes) {
  return {
    architectures: ["Qwen3MoeForCausalLM"],
    model_type: "qwen3_moe",
    hidden_act: "silu",
    hidden_size: hidden,
    intermediate_size: intermediate,
    moe_intermediate_size: intermediate,
    num_attention_heads: HEADS,
    num_key_value_heads: KV_HEADS,
    head_dim: HEAD_DIM,
    num_hidden_layers: 1,
    num_experts: EXPERTS,
    num_experts_per_tok: 2,
    norm_topk_prob: true,
    max_position_embeddings: 64,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: false,
    vocab_size: VOCABULARY,
    eos_token_id: 2,
  };
}

async function writeFolder(
  folder: string,
  config: DialectConfig,
  tensors: Readonly<Record<string, TensorToWrite>>,
): Promise<void> {
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config));
  await Deno.writeFile(`${folder}/model.safetensors`, encodeSafetensors(tensors));
}
