/** Models of each GGUF type: the logits of the numbers that ggml dequantizes, on the CPU, `triton` and `trtllm`. */

import assert from "node:assert/strict";
import type { ScaleBlock, WeightFormat } from "../../../graph/mod.ts";
import { READ_TYPES } from "../../../models/gguf/gguf_types.ts";
import { loadModel, type Model } from "../../../models/mod.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { openBareModel } from "../../support/bare_model.ts";
import { decodedInTurn, deviceLogits } from "../../support/device_logits.ts";
import { PROMPT } from "../../support/dialect_model.ts";
import { ggufType, writeTypedModel } from "../../support/gguf_types.ts";
import { logitsOf } from "../../support/language_model.ts";
import { fusedLayers, packedGraph, withBackend } from "../../support/quantized_models.ts";
import { withSharedExecutor } from "../../support/shared_executor.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

interface TypeCase {
  readonly type: string;
  /** What the kernels read. */
  readonly format: WeightFormat;
  readonly block?: ScaleBlock;
  /** The type whose kernels read the same format in the same layout: the CPU is enough for this one. */
  readonly kernelsOf?: string;
}

const CASES: readonly TypeCase[] = [
  { type: "F32", format: "f32" },
  { type: "F16", format: "f16" },
  { type: "BF16", format: "bf16" },
  { type: "Q4_0", format: "int4", block: [1, 32] },
  { type: "Q4_1", format: "int4_affine", block: [1, 32] },
  { type: "Q5_0", format: "int8", block: [1, 32], kernelsOf: "Q8_0" },
  { type: "Q5_1", format: "int8_affine", block: [1, 32] },
  { type: "Q8_0", format: "int8", block: [1, 32] },
  { type: "Q4_K", format: "int4_affine", block: [1, 32], kernelsOf: "Q4_1" },
  { type: "Q5_K", format: "int8_affine", block: [1, 32], kernelsOf: "Q5_1" },
  { type: "Q6_K", format: "int8", block: [1, 16] },
  { type: "IQ4_NL", format: "int8", block: [1, 32], kernelsOf: "Q8_0" },
  { type: "MXFP4", format: "mxfp4" },
];

async function withTypedModel(
  type: string,
  use: (packed: Model, expected: Float32Array) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const found = ggufType(type);
  const sizes = found.blockElements > 32
    ? { hidden: 256, intermediate: 256 }
    : { hidden: 96, intermediate: 32 };
  try {
    const paths = await writeTypedModel(folder, found, sizes);
    const [plain, packed] = [await openBareModel(paths.plain), await loadModel(paths.packed)];
    try {
      const { graph } = await packedGraph(plain);
      await use(packed, await logitsOf(graph, plain.checkpoint, PROMPT));
    } finally {
      await plain.checkpoint.close();
      await packed.checkpoint.close();
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("every type that is read has a model, and one with its kernels on WebGPU", () => {
  assert.deepEqual(CASES.map(({ type }) => type).sort(), [...READ_TYPES].sort());
  for (const { format, block, kernelsOf } of CASES.filter((each) => each.kernelsOf)) {
    const other = CASES.find(({ type }) => type === kernelsOf);
    assert.deepEqual([other?.format, other?.block, other?.kernelsOf], [format, block, undefined]);
  }
});

for (const { type, format, block } of CASES) {
  Deno.test(`${type}: the CPU gives the logits of ggml's numbers`, async () => {
    await withTypedModel(type, async (model, expected) => {
      const { graph } = await packedGraph(model);
      for (const { attrs } of fusedLayers(graph)) {
        assert.deepEqual([attrs.format, attrs.block], [format, block]);
      }
      const error = relativeError(await logitsOf(graph, model.checkpoint, PROMPT), expected);
      assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
    });
  });
}

// One device for all: what the models have in common is compiled once.
// The backends take turns: `tests/kernels/moe/packed_test.ts` says that they read weights by one text.
webgpuTest("each format of GGUF's types gives them with triton or trtllm", async (t) => {
  await withSharedExecutor(async (executor) => {
    const own = CASES.filter(({ kernelsOf }) => !kernelsOf);
    for (const [i, { type }] of own.entries()) {
      const backend = ["triton", "trtllm"][i % 2];
      const decoded = decodedInTurn(i, PROMPT.length);
      await t.step(`${type}, ${backend}`, async () => {
        await withTypedModel(type, async (model, expected) => {
          const { graph } = await packedGraph(model, withBackend(backend));
          assert.ok(fusedLayers(graph).every(({ attrs }) => attrs.backend === backend));
          const got = await deviceLogits(executor, graph, model.checkpoint, PROMPT, decoded);
          const error = relativeError(got, expected);
          assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
        });
      });
    }
  });
});
