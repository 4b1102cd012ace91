/** Latent attention over a packed up projection: the numbers that the checkpoint holds, all of them. */

import assert from "node:assert/strict";
import { openBareModel } from "../support/bare_model.ts";
import { PROMPT, tensorOf } from "../support/dialect_model.ts";
import { logitsOf } from "../support/language_model.ts";
import { packedGraph } from "../support/quantized_models.ts";
import { readSafetensors } from "../support/safetensors.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";
import { encodeSafetensors, type TensorToWrite } from "../support/write_safetensors.ts";

const FOLDER = new URL("../golden/deepseek_v2/", import.meta.url);

const QUANTIZATION = {
  quant_method: "compressed-tensors",
  format: "int-quantized",
  ignore: ["re:(?!.*kv_b_proj).*"],
  config_groups: {
    all: { targets: ["Linear"], weights: { num_bits: 8, type: "int", strategy: "channel" } },
  },
};

/** The model with `kv_b_proj` in int8 by channel, or with the numbers of those codes in f32. */
async function tensorsOf(isPacked: boolean): Promise<Record<string, TensorToWrite>> {
  const tensors: Record<string, TensorToWrite> = {};
  for (
    const [name, { dtype, shape, data }] of await readSafetensors(
      new URL("model.safetensors", FOLDER),
    )
  ) {
    if (!name.endsWith("kv_b_proj.weight") || !(data instanceof Uint16Array)) {
      tensors[name] = tensorOf(dtype === "bf16" ? "BF16" : "F32", shape, data);
      continue;
    }
    const [rows, columns] = shape;
    const values = new Float32Array(Uint32Array.from(data, (half) => half << 16).buffer);
    const scales = Float32Array.from({ length: rows }, (_, row) => {
      const own = values.subarray(row * columns, (row + 1) * columns);
      return Math.max(...own.map(Math.abs)) / 127;
    });
    const scaleOf = (i: number) => scales[Math.floor(i / columns)];
    const codes = Int8Array.from(values, (value, i) => Math.round(value / scaleOf(i)));
    if (isPacked) {
      tensors[name] = tensorOf("I8", shape, codes);
      tensors[name.replace("weight", "weight_scale")] = tensorOf("F32", [rows, 1], scales);
    } else {
      tensors[name] = tensorOf(
        "F32",
        shape,
        Float32Array.from(codes, (code, i) => code * scaleOf(i)),
      );
    }
  }
  return tensors;
}

async function logitsWith(isPacked: boolean): Promise<Float32Array> {
  const folder = await Deno.makeTempDir();
  try {
    const config = JSON.parse(await Deno.readTextFile(new URL("config.json", FOLDER)));
    const own = isPacked ? { ...config, quantization_config: QUANTIZATION } : config;
    await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(own));
    await Deno.writeFile(
      `${folder}/model.safetensors`,
      encodeSafetensors(await tensorsOf(isPacked)),
    );
    const model = await openBareModel(folder);
    try {
      const changes = { insert_cached_mla_attention: { cache_dtype: "f32" } };
      const { graph, records } = await packedGraph(model, changes);
      assert.ok(records.insert_cached_mla_attention.num_matches > 0);
      return await logitsOf(graph, model.checkpoint, PROMPT);
    } finally {
      await model.checkpoint.close();
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("latent attention reads a packed up projection without a loss", async () => {
  const error = relativeError(await logitsWith(true), await logitsWith(false));
  assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
});
