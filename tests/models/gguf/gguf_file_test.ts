/** GGUF files, whole and broken: what opens, and what is refused by name. */

import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { CheckpointError, DTYPE_BYTES, MixlineError, tensor } from "../../../graph/mod.ts";
import { GGUF_TYPES } from "../../../models/gguf/gguf_types.ts";
import { evaluateWeights } from "../../../models/loading/evaluate_weights.ts";
import { loadModel, loadWeight } from "../../../models/mod.ts";
import {
  encodeGguf,
  type GgufTensorToWrite,
  type MetadataValue,
} from "../../support/write_gguf.ts";
import { slowTest } from "../../support/quick.ts";

const GOLDEN = new URL("../../golden/gguf/", import.meta.url).pathname;

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What opening a file of these bytes raises. */
async function errorOf(
  folder: string,
  bytes: Uint8Array,
  name = "m.gguf",
): Promise<MixlineError | undefined> {
  await Deno.writeFile(`${folder}/${name}`, bytes);
  try {
    const model = await loadModel(`${folder}/${name}`);
    try {
      model.build();
    } finally {
      await model.checkpoint.close();
    }
  } catch (error) {
    assert.ok(error instanceof MixlineError, `${error}`);
    return error;
  }
}

const METADATA: Record<string, MetadataValue> = {
  "general.architecture": "qwen3moe",
  "qwen3moe.block_count": 0,
};

const vector = (type = 0): GgufTensorToWrite => ({
  type,
  shape: [256],
  data: new Uint8Array(1024),
});

const REFUSED: readonly [string, Uint8Array, string, RegExp][] = [
  [
    "another file",
    new TextEncoder().encode("PK\x03\x04 and more bytes"),
    "checkpoint/malformed",
    /"GGUF" at its beginning/,
  ],
  [
    "a pointer of git-lfs",
    new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\n"),
    "checkpoint/malformed",
    /a pointer of git-lfs/,
  ],
  ["an empty file", new Uint8Array(0), "checkpoint/truncated", /a whole header/],
  [
    "a version that is not known",
    Uint8Array.of(71, 71, 85, 70, 9, 0, 0, 0),
    "checkpoint/malformed",
    /version 2 or 3, got 9/,
  ],
  [
    "another architecture",
    encodeGguf({ "general.architecture": "whisper" }, {}),
    "checkpoint/architecture",
    /qwen3moe.*got "whisper"/,
  ],
  ["no architecture", encodeGguf({}, {}), "checkpoint/architecture", /got ""/],
  ["no embedding", encodeGguf(METADATA, {}), "checkpoint/missing-tensor", /token_embd.weight/],
  [
    "metadata that are missing",
    encodeGguf(METADATA, { "token_embd.weight": { ...vector(), shape: [1, 256] } }),
    "checkpoint/gguf-metadata",
    /expected a number for key "qwen3moe.embedding_length", got none/,
  ],
  [
    "metadata of another type",
    encodeGguf({ ...METADATA, "qwen3moe.embedding_length": "big" }, {
      "token_embd.weight": { ...vector(), shape: [1, 256] },
    }),
    "checkpoint/gguf-metadata",
    /expected a number for key "qwen3moe.embedding_length", got a string/,
  ],
  [
    "a type that is not known",
    encodeGguf(METADATA, { x: vector(99) }),
    "checkpoint/dtype",
    /GGUF type 99/,
  ],
  [
    "rows that no block fits",
    encodeGguf(METADATA, { x: { ...vector(12), shape: [255] } }),
    "checkpoint/malformed",
    /multiple of 256 for Q4_K/,
  ],
  [
    "data that are cut off",
    encodeGguf(METADATA, { x: { ...vector(), shape: [4096] } }),
    "checkpoint/truncated",
    /"x"/,
  ],
  [
    "a dense Llama",
    encodeGguf(
      {
        "general.architecture": "llama",
        "llama.block_count": 0,
        "llama.embedding_length": 256,
        "llama.context_length": 8,
        "llama.attention.head_count": 1,
        "llama.attention.layer_norm_rms_epsilon": 0.5,
      },
      { "token_embd.weight": { ...vector(), shape: [1, 256] } },
    ),
    "checkpoint/architecture",
    /got a dense Llama/,
  ],
];

for (const [name, bytes, code, message] of REFUSED) {
  Deno.test(`loadModel() refuses ${name}`, () =>
    inFolder(async (folder) => {
      const error = await errorOf(folder, bytes);
      assert.ok(error instanceof CheckpointError);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      assert.ok(error.hint);
    }));
}

for (
  const { id, name, blockElements, blockBytes } of GGUF_TYPES.filter((type) =>
    !type.plain && !type.packed
  )
) {
  Deno.test(`loadModel() refuses ${name} by name`, () =>
    inFolder(async (folder) => {
      const golden = await readGolden("olmoe_q8_0");
      const shape = [160, 256];
      const data = new Uint8Array(160 * 256 / blockElements * blockBytes);
      golden.tensors["token_embd.weight"] = { type: id, shape, data };
      golden.metadata["olmoe.embedding_length"] = 256;
      const error = await errorOf(folder, encodeGguf(golden.metadata, golden.tensors));
      assert.equal(error?.code, "checkpoint/dtype");
      assert.match(error.message, new RegExp(`"token_embd.weight".* got ${name}$`));
    }));
}

/** A golden model taken apart, by the reader under test. */
async function readGolden(name: string) {
  const { GgufFile } = await import("../../../models/gguf/gguf_file.ts");
  const file = await GgufFile.open(`${GOLDEN}${name}.gguf`);
  const tensors: Record<string, GgufTensorToWrite> = {};
  for (const [key, { type, shape, byteOffset, byteLength }] of file.tensors) {
    const data = new Uint8Array(byteLength);
    await file.readInto(byteOffset, data);
    tensors[key] = { type: type.id, shape, data };
  }
  await file.close();
  return { metadata: Object.fromEntries(file.metadata) as Record<string, MetadataValue>, tensors };
}

Deno.test("loadModel() opens splits by their first file", () =>
  inFolder(async (folder) => {
    const { metadata, tensors } = await readGolden("gpt_oss_mxfp4");
    const names = Object.keys(tensors);
    const part = (number: number) => {
      const own = names.filter((_, i) => i % 3 === number);
      const split = { "split.no": number, "split.count": 3, "split.tensors.count": names.length };
      return encodeGguf(
        { ...number === 0 ? metadata : { "general.architecture": "gpt-oss" }, ...split },
        Object.fromEntries(own.map((name) => [name, tensors[name]])),
      );
    };
    const path = (number: number) => `${folder}/m-0000${number + 1}-of-00003.gguf`;
    for (let i = 0; i < 3; i++) await Deno.writeFile(path(i), part(i));
    const [whole, split] = [
      await loadModel(`${GOLDEN}gpt_oss_mxfp4.gguf`),
      await loadModel(path(0)),
    ];
    for (const [name, { byteLength }] of whole.checkpoint.tensors) {
      assert.deepEqual(
        await split.checkpoint.read(name, 0, byteLength),
        await whole.checkpoint.read(name, 0, byteLength),
      );
    }
    assert.equal(split.checkpoint.tensors.size, whole.checkpoint.tensors.size);
    await whole.checkpoint.close();
    await split.checkpoint.close();
    await assert.rejects(loadModel(path(1)), /expected the first of 3 splits, got number 2/);
    await Deno.rename(path(0), `${folder}/other.gguf`);
    await assert.rejects(
      loadModel(`${folder}/other.gguf`),
      /expected a name that ends with -00001-of-00003.gguf/,
    );
    await Deno.rename(`${folder}/other.gguf`, path(0));
    await Deno.remove(path(2));
    await assert.rejects(
      loadModel(path(0)),
      (error) => error instanceof CheckpointError && error.code === "checkpoint/missing-shard",
    );
  }));

Deno.test("read() of any range gives what reading all of it gives", async () => {
  const model = await loadModel(`${GOLDEN}mixtral_legacy.gguf`);
  const all = [...model.checkpoint.tensors.values()];
  await fc.assert(fc.asyncProperty(fc.nat(), fc.nat(), fc.nat(), async (which, from, length) => {
    const { name, byteLength, dtype } = all[which % all.length];
    const size = DTYPE_BYTES[dtype];
    const start = from % (byteLength / size) * size;
    const count = Math.min(length % 1000 * size, byteLength - start);
    const whole = await model.checkpoint.read(name, 0, byteLength);
    assert.deepEqual(
      await model.checkpoint.read(name, start, count),
      whole.slice(start, start + count),
    );
  }));
  await model.checkpoint.close();
});

slowTest("evaluateWeights() reads GGUF tensors on workers as on this thread", async () => {
  const model = await loadModel(`${GOLDEN}mixtral_legacy.gguf`);
  const { checkpoint } = model;
  assert.equal(checkpoint.reopenPath, `${GOLDEN}mixtral_legacy.gguf`);
  const tensors = [...checkpoint.tensors.values()];
  const weights = tensors.map(({ name, dtype, shape }) => tensor(name, dtype, shape));
  const read = async (workers: number) => {
    const bytes = tensors.map(({ byteLength }) => new Uint8Array(byteLength));
    for await (const ranges of evaluateWeights(weights, checkpoint, { workers, jobBytes: 4096 })) {
      for (const { weight, byteOffset, bytes: part } of ranges) bytes[weight].set(part, byteOffset);
    }
    return bytes;
  };
  assert.deepEqual(await read(2), await read(0));
  await checkpoint.close();
});

Deno.test("notes say what is kept in another form, and its bytes", async () => {
  const model = await loadModel(`${GOLDEN}qwen3_moe_q4_k_m.gguf`);
  assert.ok(
    model.checkpoint.notes.some((note) =>
      /Q5_K is kept as int8_affine in groups of 32, .* in memory of .* in the file/.test(note)
    ),
  );
  // Layer 0 has experts of Q4_K and Q6_K, which share a format.
  const { quantization } = model;
  const format = (module: string) => quantization?.schemeOf(module)?.format;
  assert.equal(format("model.layers.0.mlp.experts.0.down_proj"), "int8_affine");
  assert.equal(format("model.layers.0.mlp.experts.0.gate_proj"), "int8_affine");
  assert.equal(format("model.layers.0.self_attn.q_proj"), "int4_affine");
  assert.equal(format("model.norm"), undefined);
  await model.checkpoint.close();
});

/** MIXLINE_FUZZ sets how many damaged files are tried. */
const CASES = Number(Deno.env.get("MIXLINE_FUZZ") ?? 40);

Deno.test("loadModel() of damaged files raises errors of ours, or opens", () =>
  inFolder(async (folder) => {
    const { metadata, tensors } = await readGolden("olmoe_q8_0");
    const sound = encodeGguf(metadata, tensors);
    const header = 4096;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(header), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(),
        fc.boolean(),
        async (bytes, cut, cuts) => {
          const damaged = sound.slice(0, cuts ? cut % sound.length : sound.length);
          for (const [at, value] of bytes) if (at < damaged.length) damaged[at] = value;
          await errorOf(folder, damaged);
        },
      ),
      { numRuns: CASES },
    );
  }));

Deno.test("a tensor that no name is known for is reported as unused", () =>
  inFolder(async (folder) => {
    const { metadata, tensors } = await readGolden("olmoe_q8_0");
    tensors["blk.0.something.weight"] = vector();
    await Deno.writeFile(`${folder}/m.gguf`, encodeGguf(metadata, tensors));
    const model = await loadModel(`${folder}/m.gguf`);
    const { unusedTensors, graph } = model.build();
    assert.deepEqual(unusedTensors.map(({ name }) => name), ["blk.0.something.weight"]);
    assert.ok(graph.outputs.has("logits"));
    const norm = await loadWeight({
      kind: "tensor",
      name: "model.norm.weight",
      dtype: "f32",
      shape: [64],
    }, model.checkpoint);
    assert.equal(norm.data.length, 64);
    await model.checkpoint.close();
  }));
