/** Numbers of a checkpoint that cannot be right are found while they are read. */

import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import { CheckpointError, type DType, slice, transpose } from "../../../graph/mod.ts";
import { Checkpoint, loadModel, loadWeight } from "../../../models/mod.ts";
import { countOddValues, hasOddValues } from "../../../models/checkpoint/value_check.ts";
import { tensorOf } from "../../support/dialect_model.ts";
import { ggufType, writeTypedModel } from "../../support/gguf_types.ts";
import { encodeSafetensors, type TensorToWrite } from "../../support/write_safetensors.ts";

/** Real value of an element's bits, by the types' definitions. */
function valueOf(dtype: DType, bits: number): number {
  switch (dtype) {
    case "f32":
      return new Float32Array(Uint32Array.of(bits).buffer)[0];
    case "bf16":
      return new Float32Array(Uint32Array.of(bits << 16).buffer)[0];
    case "f16":
      return new Float16Array(Uint16Array.of(bits).buffer)[0];
    case "f8_e4m3":
      return (bits & 0x7f) === 0x7f ? NaN : 1;
    default:
      return bits === 255 ? NaN : 1;
  }
}

const WIDTHS = { f32: 4, bf16: 2, f16: 2, f8_e4m3: 1, f8_e8m0: 1 } as const;

Deno.test("hasOddValues() and countOddValues() agree with the numbers, wherever they lie", () => {
  const elements = fc.record({
    dtype: fc.constantFrom(...Object.keys(WIDTHS) as (keyof typeof WIDTHS)[]),
    bits: fc.array(
      fc.oneof(
        fc.integer({ min: 0, max: 2 ** 32 - 1 }),
        fc.constantFrom(0xffffffff, 0x7f800000, 0xff80ff80, 0x7c007c00, 0x7f7f7f7f, 0xfc00),
      ),
      { maxLength: 20 },
    ),
    shift: fc.integer({ min: 0, max: 3 }),
  });
  fc.assert(fc.property(elements, ({ dtype, bits, shift }) => {
    const width = WIDTHS[dtype];
    const mask = 2 ** (8 * width) - 1;
    const bytes = new Uint8Array(shift + bits.length * width).subarray(shift);
    bits.forEach((word, i) => {
      for (let b = 0; b < width; b++) bytes[i * width + b] = (word >>> (8 * b)) & 255;
    });
    const values = bits.map((word) => valueOf(dtype, (word & mask) >>> 0));
    const nan = values.filter(Number.isNaN).length;
    const infinite = values.filter((value) => Math.abs(value) === Infinity).length;
    assert.equal(hasOddValues(dtype, bytes), nan + infinite > 0);
    assert.deepEqual(countOddValues(dtype, bytes), { nan, infinite });
  }));
  assert.ok(!hasOddValues("u8", Uint8Array.of(255)));
});

async function withTensors(
  tensors: Record<string, TensorToWrite>,
  use: (checkpoint: Checkpoint) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeFile(`${folder}/model.safetensors`, encodeSafetensors(tensors));
    await using checkpoint = await Checkpoint.open(folder);
    await use(checkpoint);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const refused = (code: string, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof CheckpointError && error.hint);
  assert.equal(error.code, code);
  assert.match(error.message, message);
  return true;
};

Deno.test("a matrix with NaN and infinity is refused with their counts, whatever part is read", async () => {
  const data = Float32Array.of(1, 2, NaN, 4, Infinity, NaN);
  await withTensors({ w: tensorOf("F32", [3, 2], data) }, async (checkpoint) => {
    const w = checkpoint.tensor("w", [3, 2]);
    const message =
      /"w" of "model\.safetensors": expected finite numbers, got 2 NaN and 1 infinite of 6/;
    await assert.rejects(
      loadWeight(transpose(w, 0, 1), checkpoint),
      refused("checkpoint/not-finite", message),
    );
    await assert.rejects(
      loadWeight(slice(w, 0, 2, 3), checkpoint),
      refused("checkpoint/not-finite", message),
    );
    assert.deepEqual((await loadWeight(slice(w, 0, 0, 1), checkpoint)).data, Float32Array.of(1, 2));
  });
});

Deno.test("an infinite value in a vector is told, NaN in one is refused", async () => {
  const tensors = {
    bias: tensorOf("F32", [3], Float32Array.of(-Infinity, 0, 1)),
    norm: tensorOf("BF16", [3], Uint16Array.of(0x3f80, 0x7fc0, 0)),
  };
  await withTensors(tensors, async (checkpoint) => {
    await loadWeight(checkpoint.tensor("bias", [3]), checkpoint);
    assert.deepEqual(checkpoint.findings, ['Tensor "bias" has 1 infinite value of 3']);
    await assert.rejects(
      loadWeight(checkpoint.tensor("norm", [3]), checkpoint),
      refused("checkpoint/not-finite", /"norm".* got 1 NaN of 3/),
    );
  });
});

Deno.test("FP8 codes and MXFP4 exponents that are NaN are refused", async () => {
  const tensors = {
    codes: tensorOf("F8_E4M3", [2, 2], Uint8Array.of(1, 0xff, 2, 0x7f)),
    "experts.down_proj_scales": tensorOf("U8", [2, 1], Uint8Array.of(127, 255)),
    other: tensorOf("U8", [2, 1], Uint8Array.of(127, 255)),
  };
  await withTensors(tensors, async (checkpoint) => {
    const read = (name: string) => checkpoint.read(name, 0, checkpoint.info(name).byteLength);
    await assert.rejects(read("codes"), refused("checkpoint/not-finite", /got 2 NaN of 4/));
    await assert.rejects(
      read("experts.down_proj_scales"),
      refused("checkpoint/not-finite", /got 1 NaN of 2/),
    );
    await read("other");
  });
});

interface GgufFault {
  readonly type: string;
  readonly spoil: (data: Uint8Array) => void;
  readonly message: RegExp;
}

const f16 = (data: Uint8Array, at: number, bits: number) =>
  new DataView(data.buffer, data.byteOffset).setUint16(at, bits, true);

/** The first scales of a block, of matrices [.., 96] whose second expert has 32 rows. */
const GGUF_FAULTS: readonly GgufFault[] = [
  { type: "F32", spoil: (data) => f16(data, 2, 0x7fc0), message: /got 1 NaN of 3072 in its part/ },
  { type: "F16", spoil: (data) => f16(data, 0, 0xfc00), message: /got 1 infinite of 3072 in its/ },
  { type: "BF16", spoil: (data) => f16(data, 4, 0x7fff), message: /got 1 NaN of 3072 in its part/ },
  { type: "Q8_0", spoil: (data) => f16(data, 34, 0x7e00), message: /got 1 NaN of 96 in its part/ },
  { type: "Q4_1", spoil: (data) => f16(data, 2, 0x7c00), message: /got 1 infinite of 192 in its/ },
  { type: "MXFP4", spoil: (data) => data[17] = 255, message: /got 1 NaN of 96 in its part/ },
];

for (const { type, spoil, message } of GGUF_FAULTS) {
  Deno.test(`odd numbers of a GGUF file's ${type} tensor are refused by the file's name for it`, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const sizes = { hidden: 96, intermediate: 32 };
      const name = "blk.0.ffn_up_exps.weight";
      const path = await writeTypedModel(folder, ggufType(type), sizes, (tensors) => {
        const { data } = tensors[name];
        spoil(data.subarray(data.length / 5)); // of the second of five experts
      });
      const { checkpoint } = await loadModel(path.packed);
      const read = (tensor: string) =>
        checkpoint.read(tensor, 0, checkpoint.info(tensor).byteLength);
      const module = "model.layers.0.mlp.experts.1.up_proj";
      const part = [`${module}.weight_scale`, `${module}.weight`].find((each) =>
        checkpoint.has(each)
      );
      assert.ok(part);
      await assert.rejects(read(part), (error: unknown) => {
        refused("checkpoint/not-finite", message)(error);
        assert.ok(error instanceof CheckpointError);
        assert.ok(error.message.startsWith(`Cannot load tensor "${name}" of "model.gguf": `));
        assert.ok(error.message.endsWith(`part "${part}"`));
        return true;
      });
      await read(part.replace("experts.1", "experts.2"));
      await checkpoint.close();
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("scales that divide must be above 0", async () => {
  for (const value of [0, -1, NaN]) {
    const tensors = { "q_proj.input_scale": tensorOf("F32", [], Float32Array.of(value)) };
    await withTensors(tensors, async (checkpoint) => {
      await assert.rejects(
        checkpoint.read("q_proj.input_scale", 0, 4),
        refused("checkpoint/scale", /"q_proj\.input_scale".*expected a scale above 0, got/),
      );
    });
  }
});
