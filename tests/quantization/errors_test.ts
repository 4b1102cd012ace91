/** Checkpoints whose quantization is unknown, incomplete or contradictory. */

import assert from "node:assert/strict";
import { CheckpointError, type MixlineError } from "../../graph/mod.ts";
import { openBareModel } from "../support/bare_model.ts";
import { packedGraph } from "../support/quantized_models.ts";
import { readSafetensors } from "../support/safetensors.ts";
import { encodeSafetensors, type TensorToWrite } from "../support/write_safetensors.ts";

const GOLDEN = new URL("../golden/quantized/", import.meta.url);

const NAMES: Readonly<Record<string, string>> = {
  f32: "F32",
  bf16: "BF16",
  f8_e4m3: "F8_E4M3",
  u8: "U8",
};

type Tensors = Record<string, TensorToWrite>;

/** A copy of a packed model with other tensors and another config. */
interface Spoiled {
  readonly model: string;
  readonly tensors?: (tensors: Tensors) => void;
  readonly config?: (config: Record<string, unknown>) => void;
}

async function openSpoiled({ model, tensors = () => {}, config = () => {} }: Spoiled) {
  const folder = new URL(`${model}/`, GOLDEN);
  const all: Tensors = {};
  for (
    const [name, { dtype, shape, data }] of await readSafetensors(
      new URL("model.safetensors", folder),
    )
  ) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    all[name] = { dtype: NAMES[dtype], shape, data: bytes };
  }
  tensors(all);
  const fields = JSON.parse(await Deno.readTextFile(new URL("config.json", folder)));
  config(fields);
  const copy = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${copy}/model.safetensors`, encodeSafetensors(all));
    await Deno.writeTextFile(`${copy}/config.json`, JSON.stringify(fields));
    const modelOpt = new URL("hf_quant_config.json", folder);
    const text = await Deno.readTextFile(modelOpt).catch(() => undefined);
    if (text !== undefined) await Deno.writeTextFile(`${copy}/hf_quant_config.json`, text);
    const opened = await openBareModel(copy);
    try {
      return (await packedGraph(opened)).records;
    } finally {
      await opened.checkpoint.close();
    }
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
}

const BLOCKS = "qwen3_moe_fp8_block32";
const MODEL_OPT = "mixtral_fp8_modelopt";
const MXFP4 = "gpt_oss_mxfp4";
const Q = "model.layers.0.self_attn.q_proj";
const W1 = "model.layers.0.block_sparse_moe.experts.1.w1";
const DOWN = "model.layers.1.mlp.experts.down_proj";

const FAILURES: readonly (Spoiled & { name: string; code: string; message: RegExp })[] = [
  {
    name: "an unknown method",
    model: BLOCKS,
    config: (config) => config.quantization_config = { quant_method: "hqq", bits: 4 },
    code: "checkpoint/quantization",
    message: /expected fp8, compressed-tensors, .* for quant_method, got "hqq"/,
  },
  {
    name: "another FP8 format",
    model: BLOCKS,
    config: (config) => config.quantization_config = { quant_method: "fp8", fmt: "e5m2" },
    code: "checkpoint/quantization",
    message: /expected "e4m3" for fmt, got "e5m2"/,
  },
  {
    name: "codes that no config explains",
    model: BLOCKS,
    config: (config) => delete config.quantization_config,
    code: "checkpoint/quantization",
    message:
      /q_proj\.weight": expected a quantization_config that says how f8_e4m3 codes are scaled/,
  },
  {
    name: "codes without scales",
    model: BLOCKS,
    tensors: (tensors) => delete tensors[`${Q}.weight_scale_inv`],
    code: "checkpoint/half-quantized",
    message: /q_proj\.weight": expected its scales ".*q_proj\.weight_scale_inv" or ".*", got none/,
  },
  {
    name: "scales without codes",
    model: MODEL_OPT,
    tensors(tensors) {
      const { shape } = tensors[`${W1}.weight`];
      const data = new Uint8Array(2 * shape[0] * shape[1]);
      tensors[`${W1}.weight`] = { dtype: "BF16", shape, data };
    },
    code: "checkpoint/half-quantized",
    message: /w1\.weight": expected a packed type beside ".*w1\.weight_scale", got bf16/,
  },
  {
    name: "one plain expert among packed ones",
    model: MODEL_OPT,
    tensors(tensors) {
      const { shape } = tensors[`${W1}.weight`];
      const data = new Uint8Array(2 * shape[0] * shape[1]);
      tensors[`${W1}.weight`] = { dtype: "BF16", shape, data };
      for (const scale of ["weight_scale", "input_scale"]) delete tensors[`${W1}.${scale}`];
    },
    code: "checkpoint/half-quantized",
    message:
      /w1\.weight": expected modelopt codes \(fp8_e4m3\) in ".*", as .* does not exclude it, got bf16/,
  },
  {
    name: "an input scale that only some experts have",
    model: MODEL_OPT,
    tensors: (tensors) => delete tensors[`${W1}.input_scale`],
    code: "transform/refused",
    message:
      /"quantize_fp8_moe" on "model\.layers\.0\.mlp \(moe\)": ".*experts\.1\.gate_proj\.weight" has no input_scale, 23 of the layer's 24 weights have one/,
  },
  {
    name: "scales of another block",
    model: BLOCKS,
    config: (config) => {
      const quantization = config.quantization_config as Record<string, unknown>;
      quantization.weight_block_size = [16, 16];
    },
    code: "checkpoint/shape",
    message: /weight_scale_inv": expected shape \[\d+, \d+\], got \[\d+, \d+\]/,
  },
  {
    name: "MXFP4 blocks without scales",
    model: MXFP4,
    tensors: (tensors) => delete tensors[`${DOWN}_scales`],
    code: "checkpoint/missing-tensor",
    message: /Cannot find tensor ".*down_proj_scales"/,
  },
];

for (const { name, code, message, ...spoiled } of FAILURES) {
  Deno.test(`a checkpoint with ${name} is refused`, async () => {
    const error = await openSpoiled(spoiled).then(
      () => undefined,
      (error) => error as MixlineError,
    );
    assert.ok(error, "it was accepted");
    assert.match(error.message, message);
    assert.equal(error.code, code);
    if (error instanceof CheckpointError) assert.ok(error.hint, "an error of a file has a hint");
  });
}

Deno.test("a scale that nothing reads is reported by its name", async () => {
  const stray = "model.layers.0.self_attn.k_scale";
  const { load_weights: record } = await openSpoiled({
    model: BLOCKS,
    tensors: (tensors) => tensors[stray] = { dtype: "F32", shape: [1], data: new Uint8Array(4) },
  });
  assert.ok(record.notes.some((note) => note.startsWith("Not read") && note.includes(stray)));
});
