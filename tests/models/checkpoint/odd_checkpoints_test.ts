/**
 * Checkpoints as exports and fine-tunes leave them: each loads with the logits of the model that it
 * stands for, or is refused by the tensor's name.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { CheckpointError } from "../../../graph/mod.ts";
import type { Model } from "../../../models/mod.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { openBareModel } from "../../support/bare_model.ts";
import { deviceLogits } from "../../support/device_logits.ts";
import { plainMatrix, PROMPT, tensorOf, writeDialectModel } from "../../support/dialect_model.ts";
import { logitsOf } from "../../support/language_model.ts";
import { packedGraph } from "../../support/quantized_models.ts";
import { readSafetensors } from "../../support/safetensors.ts";
import { withSharedExecutor } from "../../support/shared_executor.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";
import { encodeSafetensors, type TensorToWrite } from "../../support/write_safetensors.ts";

const NAMES: Readonly<Record<string, string>> = { f32: "F32", bf16: "BF16", f16: "F16" };

interface Changes {
  readonly config?: (config: Record<string, unknown>) => void;
  readonly tensors?: (tensors: Record<string, TensorToWrite>) => void;
}

/** Opens a copy of a folder with other tensors and another config. */
async function withChanged(
  folder: string,
  { config = () => {}, tensors = () => {} }: Changes,
  use: (model: Model) => Promise<void>,
): Promise<void> {
  const all: Record<string, TensorToWrite> = {};
  const file = new URL(`file://${folder}/model.safetensors`);
  for (const [name, { dtype, shape, data }] of await readSafetensors(file)) {
    all[name] = tensorOf(NAMES[dtype], shape, data);
  }
  const fields = JSON.parse(await Deno.readTextFile(`${folder}/config.json`));
  tensors(all);
  config(fields);
  const copy = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${copy}/model.safetensors`, encodeSafetensors(all));
    await Deno.writeTextFile(`${copy}/config.json`, JSON.stringify(fields));
    const model = await openBareModel(copy);
    try {
      await use(model);
    } finally {
      await model.checkpoint.close();
    }
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
}

async function withSmallModel(use: (folder: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  const folders = { packed: `${root}/packed`, plain: `${root}/plain` };
  try {
    for (const folder of Object.values(folders)) await Deno.mkdir(folder);
    await writeDialectModel(folders, { hidden: 40, intermediate: 24 }, {}, plainMatrix);
    await use(folders.plain);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

async function logits(model: Model) {
  const { graph, records } = await packedGraph(model);
  return { records, values: await logitsOf(graph, model.checkpoint, PROMPT) };
}

const GPT_OSS = fileURLToPath(new URL("../../golden/gpt_oss/", import.meta.url)).replace(/\/$/, "");

Deno.test("bf16 experts under a config that still says mxfp4 are read as they are", async () => {
  await withChanged(GPT_OSS, {}, async (plain) => {
    const expected = await logits(plain);
    const config = (fields: Record<string, unknown>) =>
      fields.quantization_config = { quant_method: "mxfp4", modules_to_not_convert: ["lm_head"] };
    await withChanged(GPT_OSS, { config }, async (stale) => {
      assert.equal(relativeError((await logits(stale)).values, expected.values), 0);
    });
  });
});

/** Switches the first expert of each router off. */
const switchedOff = (tensors: Record<string, TensorToWrite>) => {
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    if (!name.endsWith("router.bias")) continue;
    const bytes = data.slice();
    new DataView(bytes.buffer).setUint16(0, 0xff80, true); // -infinity in bf16
    tensors[name] = { dtype, shape, data: bytes };
  }
};

webgpuTest(
  "a router's bias of minus infinity switches an expert off on both executors",
  async () => {
    await withSharedExecutor(async (executor) => {
      await withChanged(GPT_OSS, { tensors: switchedOff }, async (model) => {
        const { graph } = await packedGraph(model);
        const expected = await logitsOf(graph, model.checkpoint, PROMPT);
        assert.ok(expected.every(Number.isFinite));
        assert.match(model.checkpoint.findings.join(), /router\.bias" has 1 infinite value of/);
        const got = await deviceLogits(executor, graph, model.checkpoint, PROMPT);
        assert.ok(relativeError(got, expected) <= TOLERANCES.logitsF32);
      });
    });
  },
);

Deno.test("leftovers of training and quantizing change nothing and are told with their reason", async () => {
  await withSmallModel(async (folder) => {
    let expected = new Float32Array();
    await withChanged(folder, {}, async (model) => {
      expected = (await logits(model)).values;
    });
    const leftovers: Readonly<Record<string, RegExp>> = {
      "model.layers.0.self_attn.rotary_emb.inv_freq": /rope parameters/,
      "model.layers.0.self_attn.k_scale": /used with kv_cache_dtype: fp8/,
      "mtp.layers.0.mlp.gate.weight": /predicts further tokens/,
      "model.layers.1.eh_proj.weight": /predicts further tokens/,
      "optimizer.state.0.exp_avg": /training run/,
      "model.layers.0.self_attn.q_proj.weight_shape": /sizes of packed matrices/,
      "stray.weight": /unknown to the architecture/,
    };
    const tensors = (all: Record<string, TensorToWrite>) => {
      for (const name of Object.keys(leftovers)) {
        all[name] = tensorOf("F32", [1], Float32Array.of(1));
      }
    };
    await withChanged(folder, { tensors }, async (model) => {
      const { records, values } = await logits(model);
      assert.equal(relativeError(values, expected), 0);
      for (const [name, reason] of Object.entries(leftovers)) {
        const note = records.load_weights.notes.find((each) => each.includes(name));
        assert.ok(note, `${name} is told`);
        assert.match(note, reason);
      }
    });
  });
});

Deno.test("a config with fewer layers than the file names what is not read", async () => {
  const folder = fileURLToPath(new URL("../../golden/mixtral", import.meta.url));
  const config = (fields: Record<string, unknown>) => fields.num_hidden_layers = 1;
  await withChanged(folder, { config }, (model) => {
    const { unusedTensors } = model.build();
    const layer = unusedTensors.filter(({ name }) => name.startsWith("model.layers.1."));
    assert.ok(layer.length > 0 && layer.every(({ reason }) => reason === undefined));
    assert.equal(layer.length, unusedTensors.length);
    return Promise.resolve();
  });
});

const REFUSED: readonly (readonly [string, Changes, RegExp])[] = [
  [
    "half of its experts",
    {
      tensors(all) {
        for (const name of Object.keys(all)) if (/experts\.[34]\./.test(name)) delete all[name];
      },
    },
    /Cannot find tensor "model\.layers\.0\.mlp\.experts\.3\.gate_proj\.weight"/,
  ],
  [
    "an AWQ config and plain weights",
    {
      config: (fields) =>
        fields.quantization_config = { quant_method: "awq", bits: 4, group_size: 16 },
    },
    /q_proj\.weight": expected awq codes \(int4_affine\) in "model.*q_proj\.qweight", .* got f32/,
  ],
  [
    "a weight of another type with as many bytes",
    {
      tensors(all) {
        const name = "model.layers.0.self_attn.q_proj.weight";
        all[name] = { ...all[name], dtype: "I32" };
      },
    },
    /q_proj\.weight": expected a quantization_config that says how i32 codes are scaled/,
  ],
  [
    "a norm of another type with as many bytes",
    {
      tensors(all) {
        const name = "model.norm.weight";
        all[name] = { ...all[name], dtype: "U32" };
      },
    },
    /Cannot use tensor "model\.norm\.weight" of "model\.safetensors": expected f32 or f16 or bf16, got u32/,
  ],
  [
    "a norm of a type that is not read",
    {
      tensors(all) {
        const name = "model.norm.weight";
        all[name] = { dtype: "F64", shape: [40], data: new Uint8Array(320) };
      },
    },
    /Cannot read tensor "model\.norm\.weight" of "model\.safetensors": expected one of .*, got F64/,
  ],
];

for (const [what, changes, message] of REFUSED) {
  Deno.test(`a model with ${what} is refused by the tensor's name`, async () => {
    await withSmallModel(async (folder) => {
      await withChanged(folder, changes, (model) => {
        assert.throws(() => model.build(), (error: unknown) => {
          assert.ok(error instanceof CheckpointError && error.hint);
          assert.match(error.message, message);
          return true;
        });
        return Promise.resolve();
      });
    });
  });
}
