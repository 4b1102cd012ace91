/**
 * Writes small GGUF models of random weights in mixed types, and models.json: the logits that llama.cpp
 * computes with the numbers that ggml dequantizes them to, in F32. (Of the quantized files themselves it
 * rounds activations to 8 bits, which says nothing about the weights.)
 *
 *   npm install --ignore-scripts @node-llama-cpp/linux-x64@3.22.1      (anywhere)
 *   deno run -A tests/golden/gguf/generate_models.ts node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
 */

import { encodeGguf, type GgufTensorToWrite } from "../../support/write_gguf.ts";
import { ggufMetadata } from "../../support/gguf_models.ts";
import { openGgml, randomValues, type TypeName, TYPES } from "./ggml.ts";
import { openLlama } from "./llama.ts";

interface Sizes {
  readonly hidden: number;
  readonly inner: number;
  readonly headDim: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly experts: number;
}

interface Recipe {
  readonly name: string;
  readonly modelType: string;
  readonly sizes: Sizes;
  /** Type of a tensor by what its name contains; the first that fits. */
  readonly types: readonly (readonly [RegExp, TypeName])[];
}

const VOCAB = 160;
const LAYERS = 2;

const RECIPES: readonly Recipe[] = [
  {
    // As Q4_K_M mixes types; the experts of layer 0 are of several.
    name: "qwen3_moe_q4_k_m",
    modelType: "qwen3_moe",
    sizes: { hidden: 256, inner: 256, headDim: 64, heads: 4, kvHeads: 2, experts: 4 },
    types: [
      [/^token_embd|^output\.|blk\.0\.attn_v|blk\.0\.ffn_down_exps/, "Q6_K"],
      [/blk\.1\.attn_v/, "Q8_0"],
      [/blk\.1\.ffn_\w+_exps/, "Q5_K"],
      [/./, "Q4_K"],
    ],
  },
  {
    name: "mixtral_legacy",
    modelType: "mixtral",
    sizes: { hidden: 64, inner: 96, headDim: 32, heads: 4, kvHeads: 2, experts: 5 },
    types: [
      [/^token_embd/, "Q8_0"],
      [/^output\./, "Q5_1"],
      [/attn_q/, "Q4_1"],
      [/attn_k/, "Q5_0"],
      [/attn_v/, "IQ4_NL"],
      [/blk\.0\.ffn_\w+_exps/, "Q4_0"],
      [/blk\.1\.ffn_gate_exps/, "Q4_0"],
      [/blk\.1\.ffn_up_exps/, "IQ4_NL"],
      [/blk\.1\.ffn_down_exps/, "Q8_0"],
      [/./, "Q5_1"],
    ],
  },
  {
    name: "gpt_oss_mxfp4",
    modelType: "gpt_oss",
    sizes: { hidden: 96, inner: 64, headDim: 32, heads: 6, kvHeads: 2, experts: 4 },
    types: [
      [/ffn_\w+_exps/, "MXFP4"],
      [/attn_(q|output)/, "Q8_0"],
      [/attn_v/, "F16"],
      [/./, "BF16"],
    ],
  },
  {
    name: "olmoe_q8_0",
    modelType: "olmoe",
    sizes: { hidden: 64, inner: 32, headDim: 32, heads: 2, kvHeads: 2, experts: 6 },
    types: [[/blk\.1\.ffn_up_exps/, "F16"], [/./, "Q8_0"]],
  },
];

const PROMPTS = [[7], [3, 150, 41, 9, 77], [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23]];

const folder = Deno.args[0];
const [ggml, llama] = [openGgml(folder), openLlama(folder)];
const models = [];
for (const recipe of RECIPES) {
  const { stored, real } = makeTensors(recipe);
  const metadata = ggufMetadata(configOf(recipe));
  const path = new URL(`${recipe.name}.gguf`, import.meta.url).pathname;
  await Deno.writeFile(path, encodeGguf(metadata, stored));
  const plain = await Deno.makeTempFile({ suffix: ".gguf" });
  await Deno.writeFile(plain, encodeGguf(metadata, real));
  const prompts = PROMPTS.map((ids) => ({
    ids,
    logits: new Uint8Array(llama.lastLogits(plain, ids, VOCAB).buffer).toBase64(),
  }));
  await Deno.remove(plain);
  models.push({ name: recipe.name, prompts });
}
await Deno.writeTextFile(new URL("models.json", import.meta.url), JSON.stringify({ models }));

function makeTensors(recipe: Recipe) {
  const stored: Record<string, GgufTensorToWrite> = {};
  const real: Record<string, GgufTensorToWrite> = {};
  let seed = 1;
  for (const [name, shape] of shapesOf(recipe)) {
    const values = randomValues(shape.reduce((a, b) => a * b, 1), 1000 + seed++);
    const isNorm = /norm/.test(name);
    if (isNorm) values.forEach((value, i) => values[i] = 1 + value);
    const isMatrix = shape.length > 1 && !name.includes("bias") && !name.includes("ffn_gate_inp");
    const type = isMatrix
      ? recipe.types.find(([pattern]) => pattern.test(name))?.[1] ?? "F32"
      : "F32";
    const bytes = type === "F32" ? new Uint8Array(values.buffer) : pack(type, values, shape.at(-1) ?? 1);
    const back = type === "F32" ? values : ggml.dequantize(type, bytes, values.length);
    stored[name] = { type: TYPES[type], shape, data: bytes };
    real[name] = { type: 0, shape, data: new Uint8Array(back.buffer) };
  }
  return { stored, real };
}

function pack(type: TypeName, values: Float32Array<ArrayBuffer>, columns: number) {
  return ggml.quantize(type, values, columns);
}

function* shapesOf({ modelType, sizes }: Recipe): Generator<[string, number[]]> {
  const { hidden, inner, headDim, heads, kvHeads, experts } = sizes;
  const isGptOss = modelType === "gpt_oss";
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  yield ["token_embd.weight", [VOCAB, hidden]];
  yield ["output_norm.weight", [hidden]];
  yield ["output.weight", [VOCAB, hidden]];
  for (let i = 0; i < LAYERS; i++) {
    const block = `blk.${i}`;
    yield [`${block}.attn_norm.weight`, [hidden]];
    for (const [part, rows, columns] of [
      ["attn_q", q, hidden],
      ["attn_k", kv, hidden],
      ["attn_v", kv, hidden],
      ["attn_output", hidden, q],
    ] as const) {
      yield [`${block}.${part}.weight`, [rows, columns]];
      if (isGptOss) yield [`${block}.${part}.bias`, [rows]];
    }
    if (isGptOss) yield [`${block}.attn_sinks.weight`, [heads]];
    if (modelType === "qwen3_moe") {
      yield [`${block}.attn_q_norm.weight`, [headDim]];
      yield [`${block}.attn_k_norm.weight`, [headDim]];
    }
    if (modelType === "olmoe") {
      yield [`${block}.attn_q_norm.weight`, [q]];
      yield [`${block}.attn_k_norm.weight`, [kv]];
    }
    yield [`${block}.${isGptOss ? "post_attention_norm" : "ffn_norm"}.weight`, [hidden]];
    yield [`${block}.ffn_gate_inp.weight`, [experts, hidden]];
    if (isGptOss) yield [`${block}.ffn_gate_inp.bias`, [experts]];
    for (const part of ["gate", "up", "down"]) {
      const shape = part === "down" ? [experts, hidden, inner] : [experts, inner, hidden];
      yield [`${block}.ffn_${part}_exps.weight`, shape];
      if (isGptOss) yield [`${block}.ffn_${part}_exps.bias`, shape.slice(0, 2)];
    }
  }
}

function configOf({ modelType, sizes }: Recipe): Record<string, unknown> {
  const { hidden, inner, headDim, heads, kvHeads, experts } = sizes;
  return {
    model_type: modelType,
    num_hidden_layers: LAYERS,
    max_position_embeddings: 256,
    hidden_size: hidden,
    intermediate_size: inner,
    moe_intermediate_size: inner,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    head_dim: headDim,
    rms_norm_eps: 1e-5,
    num_experts: experts,
    num_experts_per_tok: 2,
    vocab_size: VOCAB,
    sliding_window: 4,
    // A factor of 1: llama.cpp rounds the bounds of yarn's ramp, which gpt-oss does not.
    rope_parameters: { rope_theta: 10000, factor: 1, original_max_position_embeddings: 256 },
  };
}
