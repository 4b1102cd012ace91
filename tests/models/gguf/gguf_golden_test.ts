/** GGUF files of the golden models: the logits are those of transformers. */

import assert from "node:assert/strict";
import { loadModel } from "../../../models/mod.ts";
import { pipeline } from "../../../mod.ts";
import { ggufMetadata, ggufTensors, inF32 } from "../../support/gguf_models.ts";
import { readSafetensors } from "../../support/safetensors.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";
import { encodeGguf } from "../../support/write_gguf.ts";

const GOLDEN = new URL("../../golden/", import.meta.url);

/** The GGUF file of a golden model in F32. */
async function writeGolden(name: string, folder: string): Promise<string> {
  const config = JSON.parse(await Deno.readTextFile(new URL(`${name}/config.json`, GOLDEN)));
  const tensors = ggufTensors(
    config,
    await readSafetensors(new URL(`${name}/model.safetensors`, GOLDEN)),
  );
  const path = `${folder}/${name}.gguf`;
  const written = Object.fromEntries([...tensors].map(([key, tensor]) => [key, inF32(tensor)]));
  await Deno.writeFile(path, encodeGguf(ggufMetadata(config), written));
  return path;
}

const NAMES = [
  ...["qwen3_moe", "olmoe", "mixtral", "gpt_oss", "qwen2_moe", "glm4_moe", "minimax_m2"],
  ...["deepseek_v2", "deepseek_v2_grouped", "deepseek_v3", "granitemoe"],
];

for (const name of NAMES) {
  Deno.test(`loadModel() of a GGUF file of ${name} gives transformers' logits`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const path = await writeGolden(name, folder);
      const model = await loadModel(path);
      assert.deepEqual(model.build().unusedTensors, []);
      assert.equal(model.quantization, undefined);
      await model.checkpoint.close();
      const golden = await readSafetensors(new URL(`${name}/golden.safetensors`, GOLDEN));
      const ids = Array.from(golden.get("p0.input_ids")?.data ?? [], Number);
      await using engine = await pipeline().set("executor", "cpu").set("kv_cache_dtype", "f32")
        .deploy({ model: path });
      const logits = await engine.logits(ids);
      const expected = Float32Array.from(golden.get("p0.logits")?.data ?? [], Number);
      assert.ok(
        relativeError(logits, expected) < TOLERANCES.logitsF32,
        `${relativeError(logits, expected)}`,
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

interface LlamaGolden {
  readonly models: readonly {
    readonly name: string;
    /** Logits after the last token, f32 as base64. */
    readonly prompts: readonly { readonly ids: number[]; readonly logits: string }[];
  }[];
}

const LLAMA: LlamaGolden = JSON.parse(
  await Deno.readTextFile(new URL("gguf/models.json", GOLDEN)),
);

for (const { name, prompts } of LLAMA.models) {
  Deno.test(`${name}.gguf has the logits that llama.cpp has of its dequantized weights`, async () => {
    const path = new URL(`gguf/${name}.gguf`, GOLDEN).pathname;
    await using engine = await pipeline().set("executor", "cpu").set("kv_cache_dtype", "f32")
      .deploy({ model: path });
    for (const { ids, logits } of prompts) {
      const expected = new Float32Array(Uint8Array.fromBase64(logits).buffer);
      const error = relativeError((await engine.logits(ids)).slice(-expected.length), expected);
      // llama.cpp's KV cache is in f16.
      assert.ok(error < TOLERANCES.cacheF16, `${ids.length} tokens: ${error}`);
    }
  });
}
