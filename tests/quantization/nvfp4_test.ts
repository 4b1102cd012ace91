/** A ModelOpt NVFP4 checkpoint, made from a golden model: matrices with scales of two levels. */

import assert from "node:assert/strict";
import { quantizeMatrix } from "../../graph/mod.ts";
import { openBareModel } from "../support/bare_model.ts";
import { logitsOf } from "../support/language_model.ts";
import { fusedLayers, packedGraph } from "../support/quantized_models.ts";
import { readSafetensors } from "../support/safetensors.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";
import { encodeSafetensors, type TensorToWrite } from "../support/write_safetensors.ts";

const MIXTRAL = new URL("../golden/mixtral/", import.meta.url);
const PROMPT = [43, 67, 86, 46, 212, 65, 123];

function bytesOf(data: ArrayBufferView): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** The tensors of Mixtral with the matrices of its layers packed, routers excepted. */
async function packedTensors(): Promise<Record<string, TensorToWrite>> {
  const tensors: Record<string, TensorToWrite> = {};
  for (const [name, tensor] of await readSafetensors(new URL("model.safetensors", MIXTRAL))) {
    const { shape, data } = tensor;
    const expert = /^(.*\.(?:experts\.\d+\.w[123]|[qkvo]_proj))\.weight$/.exec(name);
    if (!expert || !(data instanceof Uint16Array)) {
      const dtype = tensor.dtype === "bf16" ? "BF16" : "F32";
      tensors[name] = { dtype, shape, data: bytesOf(data) };
      continue;
    }
    const [rows, columns] = shape;
    const values = new Float32Array(Uint32Array.from(data, (half) => half << 16).buffer);
    const packed = quantizeMatrix("nvfp4", values, rows, columns);
    const [, module] = expert;
    const write = (suffix: string, dtype: string, of: number[], bytes: Uint8Array) => {
      tensors[`${module}.${suffix}`] = { dtype, shape: of, data: bytes };
    };
    write("weight", "U8", [rows, columns / 2], packed.payload);
    write("weight_scale", "F8_E4M3", [rows, columns / 16], bytesOf(packed.scale));
    write("weight_scale_2", "F32", [], bytesOf(Float32Array.of(packed.secondScale)));
    write("input_scale", "F32", [], bytesOf(Float32Array.of(0.01)));
  }
  return tensors;
}

Deno.test("NVFP4 experts and linear layers stay packed and say what they say expanded", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.copyFile(new URL("config.json", MIXTRAL), `${folder}/config.json`);
    await Deno.writeFile(`${folder}/model.safetensors`, encodeSafetensors(await packedTensors()));
    const quantization = { quant_algo: "NVFP4", exclude_modules: ["lm_head"] };
    await Deno.writeTextFile(
      `${folder}/hf_quant_config.json`,
      JSON.stringify({ producer: { name: "modelopt" }, quantization }),
    );
    const model = await openBareModel(folder);
    try {
      const packed = await packedGraph(model);
      for (const { attrs } of fusedLayers(packed.graph)) {
        assert.deepEqual([attrs.format, attrs.activationQuant], ["nvfp4", "none"]);
      }
      const linears = packed.graph.nodes.filter((node) => node.op === "fused_linear");
      const packedLinears = linears.filter(({ inputs }) => inputs.w_scale_2 !== undefined);
      assert.ok(packedLinears.length > 0, "the projections of attention are packed");
      const expanded = await packedGraph(model, {
        quantize_nvfp4_moe: { enabled: false },
        quantize_nvfp4_linear_from_config: { enabled: false },
      });
      assert.ok(fusedLayers(expanded.graph).every(({ attrs }) => attrs.format === "f32"));
      assert.match(expanded.records.fuse_moe.notes.join(), /expanded: no quantize transform/);
      const [got, want] = [
        await logitsOf(packed.graph, model.checkpoint, PROMPT),
        await logitsOf(expanded.graph, model.checkpoint, PROMPT),
      ];
      assert.ok(relativeError(got, want) <= TOLERANCES.reordered * 10);
      const { notes } = packed.records.load_weights;
      assert.ok(notes.some((note) => note.includes("input_scale")), "scales left unread are named");
    } finally {
      await model.checkpoint.close();
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
