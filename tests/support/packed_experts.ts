/**
 * Golden models whose experts, shared ones too, are packed as checkpoints of a format have them.
 *
 * @module
 */

import { type HostTensor, quantizeMatrix } from "../../graph/mod.ts";
import type { Model } from "../../models/mod.ts";
import { openBareModel } from "./bare_model.ts";
import { tensorOf } from "./dialect_model.ts";
import { GOLDEN } from "./golden_values.ts";
import { readSafetensors } from "./safetensors.ts";
import { encodeSafetensors, type TensorToWrite } from "./write_safetensors.ts";

/** Formats that no transform makes while loading. */
export type StoredFormat = "fp8_block" | "nvfp4";

/** Rows and columns of an FP8 block. */
const BLOCK = [32, 32] as const;

/** Everything but experts. */
const IGNORED = ["re:(?!.*experts).*"];

const CONFIGS: Readonly<Record<StoredFormat, Record<string, unknown>>> = {
  fp8_block: { quant_method: "fp8", weight_block_size: BLOCK, ignored_layers: IGNORED },
  nvfp4: { quant_method: "modelopt", quant_algo: "NVFP4", ignore: IGNORED },
};

/** Runs `use` with such a model, whose experts have a tensor for each matrix. */
export async function withPackedExperts(
  name: string,
  format: StoredFormat,
  use: (model: Model) => Promise<void>,
): Promise<void> {
  const source = new URL(`${name}/`, GOLDEN);
  const folder = await Deno.makeTempDir();
  try {
    const tensors: Record<string, TensorToWrite> = {};
    for (const [key, each] of await readSafetensors(new URL("model.safetensors", source))) {
      Object.assign(
        tensors,
        /experts\..*weight$/.test(key) ? pack(key, each, format) : keep(key, each),
      );
    }
    const config = JSON.parse(await Deno.readTextFile(new URL("config.json", source)));
    const text = JSON.stringify({ ...config, quantization_config: CONFIGS[format] });
    await Deno.writeTextFile(`${folder}/config.json`, text);
    await Deno.writeFile(`${folder}/model.safetensors`, encodeSafetensors(tensors));
    const model = await openBareModel(folder);
    try {
      await use(model);
    } finally {
      await model.checkpoint.close();
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function keep(name: string, { dtype, shape, data }: HostTensor): Record<string, TensorToWrite> {
  return { [name]: tensorOf(dtype === "bf16" ? "BF16" : "F32", shape, data) };
}

function pack(
  name: string,
  { shape, data }: HostTensor,
  format: StoredFormat,
): Record<string, TensorToWrite> {
  const [rows, columns] = shape;
  const values = new Float32Array(
    Uint32Array.from(data as Uint16Array, (half) => half << 16).buffer,
  );
  const block = format === "fp8_block" ? BLOCK : undefined;
  const { payload, scale, secondScale } = quantizeMatrix(format, values, rows, columns, block);
  if (format === "fp8_block") {
    const grid = [Math.ceil(rows / BLOCK[0]), Math.ceil(columns / BLOCK[1])];
    return {
      [name]: tensorOf("F8_E4M3", shape, payload),
      [`${name}_scale_inv`]: tensorOf("F32", grid, scale),
    };
  }
  return {
    [name]: tensorOf("U8", [rows, columns / 2], payload),
    [`${name}_scale`]: tensorOf("F8_E4M3", [rows, columns / 16], scale),
    [`${name}_scale_2`]: tensorOf("F32", [], Float32Array.of(secondScale)),
  };
}
