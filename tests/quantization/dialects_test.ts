/**
 * Checkpoints in every dialect against the numbers that their writers' formulas give: logits of the
 * packed model and of a plain one with those numbers, on the CPU, `triton` and `trtllm`.
 */

import assert from "node:assert/strict";
import { isOp, type ScaleBlock, type WeightFormat } from "../../graph/mod.ts";
import type { Model } from "../../models/mod.ts";
import { openBareModel } from "../support/bare_model.ts";
import { webgpuTest } from "../support/adapter.ts";
import { decodedInTurn, deviceLogits } from "../support/device_logits.ts";
import {
  type DialectConfig,
  type DialectSizes,
  type MatrixWriter,
  PROMPT,
  tensorOf,
  writeDialectModel,
} from "../support/dialect_model.ts";
import {
  awqWriter,
  expertsOnly,
  fp4Writer,
  fp8Writer,
  gptqWriter,
  intQuantizedWriter,
  packQuantizedWriter,
} from "../support/dialect_writers.ts";
import { logitsOf } from "../support/language_model.ts";
import { fusedLayers, packedGraph, withBackend } from "../support/quantized_models.ts";
import { withSharedExecutor } from "../support/shared_executor.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";

interface DialectCase {
  readonly name: string;
  readonly sizes: DialectSizes;
  readonly config: DialectConfig;
  readonly write: MatrixWriter;
  /** What the experts are kept as. */
  readonly format: WeightFormat;
  readonly block?: ScaleBlock;
  /** The case whose kernels read the same format in the same layout: the CPU is enough for this one. */
  readonly kernelsOf?: string;
}

const ODD: DialectSizes = { hidden: 37, intermediate: 23 };
/** Rows of whole words, as GPTQ and AWQ need; groups of 16 are ragged. */
const WORDS: DialectSizes = { hidden: 40, intermediate: 24 };
const NIBBLES: DialectSizes = { hidden: 42, intermediate: 26 };
const FP4: DialectSizes = { hidden: 64, intermediate: 32 };

const own = (quantization_config: unknown): DialectConfig => ({ quantization_config });

function compressed(format: string, weights: unknown, more: Record<string, unknown> = {}) {
  return own({
    quant_method: "compressed-tensors",
    format,
    quantization_status: "compressed",
    ignore: ["lm_head", "re:.*mlp.gate$"],
    config_groups: { group_0: { targets: ["Linear"], weights, input_activations: null } },
    kv_cache_scheme: null,
    ...more,
  });
}

const f32 = (grid: readonly number[], values: Float32Array<ArrayBuffer>) =>
  tensorOf("F32", grid, values);
const scalar = (_: readonly number[], values: Float32Array<ArrayBuffer>) =>
  tensorOf("F32", [], values);
const e8m0 = (grid: readonly number[], values: Float32Array<ArrayBuffer>) =>
  tensorOf("F8_E8M0", grid, Uint8Array.from(values, (value) => Math.log2(value) + 127));

const int4 = { num_bits: 4, type: "int", strategy: "group", group_size: 16 };
const gptq = { quant_method: "gptq", bits: 4, group_size: 16, desc_act: false, sym: true };

const CASES: readonly DialectCase[] = [
  {
    name: "fine-grained FP8 with ragged blocks and null lists",
    sizes: ODD,
    config: own({
      quant_method: "fp8",
      activation_scheme: "dynamic",
      weight_block_size: [16, 8],
      modules_to_not_convert: null,
    }),
    write: fp8Writer({ scale: "weight_scale_inv", block: [16, 8], write: f32 }),
    format: "fp8_block",
    block: [16, 8],
  },
  {
    name: "fine-grained FP8 with E8M0 scales",
    sizes: ODD,
    config: own({ quant_method: "fp8", weight_block_size: [16, 8], scale_fmt: "ue8m0" }),
    write: fp8Writer({ scale: "weight_scale_inv", block: [16, 8], write: e8m0, powers: true }),
    format: "fp8_block",
    block: [16, 8],
    kernelsOf: "fine-grained FP8 with ragged blocks and null lists",
  },
  {
    name: "AutoFP8 with ignored_layers",
    sizes: ODD,
    config: own({
      quant_method: "fp8",
      activation_scheme: "dynamic",
      ignored_layers: ["lm_head", "model.layers.0.self_attn.q_proj", "re:.*self_attn.[kvo]_proj"],
    }),
    write: expertsOnly(fp8Writer({ scale: "weight_scale", block: [0, 0], write: scalar })),
    format: "fp8_e4m3",
  },
  {
    name: "compressed-tensors FP8 by channel",
    sizes: ODD,
    config: compressed("float-quantized", { num_bits: 8, type: "float", strategy: "channel" }),
    write: fp8Writer({ scale: "weight_scale", block: [1, 0], write: f32 }),
    format: "fp8_e4m3",
    block: [1, 0],
  },
  {
    name: "compressed-tensors FP8 by block",
    sizes: ODD,
    config: compressed("float-quantized", {
      num_bits: 8,
      type: "float",
      strategy: "block",
      block_structure: [8, 16],
    }),
    write: fp8Writer({ scale: "weight_scale", block: [8, 16], write: f32 }),
    format: "fp8_block",
    block: [8, 16],
  },
  {
    name: "compressed-tensors FP8 by tensor",
    sizes: ODD,
    config: compressed("naive-quantized", { num_bits: 8, type: "float", strategy: "tensor" }),
    write: fp8Writer({ scale: "weight_scale", block: [0, 0], write: scalar }),
    format: "fp8_e4m3",
  },
  {
    name: "compressed-tensors W8A8 by channel",
    sizes: ODD,
    config: compressed("int-quantized", { num_bits: 8, type: "int", strategy: "channel" }),
    write: intQuantizedWriter(0, true),
    format: "int8",
    block: [1, 0],
  },
  {
    name: "compressed-tensors W8A8 by tensor",
    sizes: ODD,
    config: compressed("int-quantized", { num_bits: 8, type: "int", strategy: "tensor" }),
    write: intQuantizedWriter("tensor", true),
    format: "int8",
    block: [0, 0],
  },
  {
    name: "compressed-tensors W8A8 by channel with zero points",
    sizes: ODD,
    config: compressed("int-quantized", {
      num_bits: 8,
      type: "int",
      strategy: "channel",
      symmetric: false,
    }),
    write: intQuantizedWriter(0, false),
    format: "int8_affine",
    block: [1, 0],
  },
  {
    name: "compressed-tensors W4A16 in ragged groups",
    sizes: NIBBLES,
    config: compressed("pack-quantized", int4),
    write: packQuantizedWriter({ bits: 4, group: 16, symmetric: true }),
    format: "int4",
    block: [1, 16],
  },
  {
    name: "compressed-tensors W4A16 with zero points",
    sizes: NIBBLES,
    config: compressed("pack-quantized", { ...int4, symmetric: false }),
    write: packQuantizedWriter({ bits: 4, group: 16, symmetric: false }),
    format: "int4_affine",
    block: [1, 16],
  },
  {
    name: "compressed-tensors W4A16 with rows of odd length",
    sizes: ODD,
    config: compressed("pack-quantized", { ...int4, symmetric: false }),
    write: packQuantizedWriter({ bits: 4, group: 16, symmetric: false }),
    format: "int8_affine",
    block: [1, 16],
  },
  {
    name: "compressed-tensors W4A16 by channel",
    sizes: NIBBLES,
    config: compressed("pack-quantized", { num_bits: 4, type: "int", strategy: "channel" }),
    write: packQuantizedWriter({ bits: 4, group: 0, symmetric: true }),
    format: "int4",
    block: [1, 0],
  },
  {
    name: "compressed-tensors W4A16 with scattered groups",
    sizes: NIBBLES,
    config: compressed("pack-quantized", { ...int4, actorder: "group" }),
    write: packQuantizedWriter({ bits: 4, group: 16, symmetric: true }, "group"),
    format: "f32",
  },
  {
    name: "compressed-tensors W8A16 in groups",
    sizes: ODD,
    config: compressed("pack-quantized", { ...int4, num_bits: 8 }),
    write: packQuantizedWriter({ bits: 8, group: 16, symmetric: true }),
    format: "int8",
    block: [1, 16],
  },
  {
    name: "compressed-tensors NVFP4",
    sizes: FP4,
    config: compressed("nvfp4-pack-quantized", {
      num_bits: 4,
      type: "float",
      strategy: "tensor_group",
      group_size: 16,
    }),
    write: fp4Writer({
      codes: "weight_packed",
      scale: "weight_scale",
      factor: ["weight_global_scale", true],
    }),
    format: "nvfp4",
  },
  {
    name: "compressed-tensors MXFP4",
    sizes: FP4,
    config: compressed("mxfp4-pack-quantized", {
      num_bits: 4,
      type: "float",
      strategy: "group",
      group_size: 32,
    }),
    write: fp4Writer({ codes: "weight_packed", scale: "weight_scale" }),
    format: "mxfp4",
  },
  {
    name: "ModelOpt NVFP4 under its other name",
    sizes: FP4,
    config: own({
      quant_method: "modelopt_fp4",
      quant_algo: "NVFP4",
      exclude_modules: ["lm_head"],
    }),
    write: fp4Writer({
      codes: "weight",
      scale: "weight_scale",
      factor: ["weight_scale_2", false],
    }),
    format: "nvfp4",
    kernelsOf: "compressed-tensors NVFP4",
  },
  {
    name: "ModelOpt with a mixture of algorithms",
    sizes: ODD,
    config: own({
      quant_method: "modelopt",
      quant_algo: "MIXED_PRECISION",
      quantized_layers: Object.fromEntries(
        Array.from({ length: 15 }, (_, i) => [
          `model.layers.0.mlp.experts.${Math.floor(i / 3)}.${["gate", "up", "down"][i % 3]}_proj`,
          { quant_algo: "FP8" },
        ]),
      ),
    }),
    write: expertsOnly(fp8Writer({ scale: "weight_scale", block: [0, 0], write: scalar })),
    format: "fp8_e4m3",
    kernelsOf: "AutoFP8 with ignored_layers",
  },
  {
    name: "GPTQ with symmetric codes",
    sizes: WORDS,
    config: own(gptq),
    write: gptqWriter({ bits: 4, group: 16, symmetric: true }, { version: 1 }),
    format: "int4",
    block: [1, 16],
    kernelsOf: "compressed-tensors W4A16 in ragged groups",
  },
  {
    name: "GPTQ of the first version with zero points",
    sizes: WORDS,
    config: own({ ...gptq, sym: false }),
    write: gptqWriter({ bits: 4, group: 16, symmetric: false }, { version: 1 }),
    format: "int4_affine",
    block: [1, 16],
  },
  {
    name: "GPTQ of the second version with zero points",
    sizes: WORDS,
    config: own({ ...gptq, sym: false, checkpoint_format: "gptq_v2" }),
    write: gptqWriter({ bits: 4, group: 16, symmetric: false }, { version: 2 }),
    format: "int4_affine",
    block: [1, 16],
    kernelsOf: "GPTQ of the first version with zero points",
  },
  {
    name: "GPTQ of 8 bits by row",
    sizes: WORDS,
    config: own({ ...gptq, bits: 8, group_size: -1 }),
    write: gptqWriter({ bits: 8, group: 0, symmetric: true }, { version: 1 }),
    format: "int8",
    block: [1, 0],
    kernelsOf: "compressed-tensors W8A8 by channel",
  },
  {
    name: "GPTQ of 8 bits with zero points",
    sizes: WORDS,
    config: own({ ...gptq, bits: 8, sym: false }),
    write: gptqWriter({ bits: 8, group: 16, symmetric: false }, { version: 1 }),
    format: "int8_affine",
    block: [1, 16],
  },
  {
    name: "GPTQ with desc_act",
    sizes: WORDS,
    config: own({ ...gptq, desc_act: true, sym: false }),
    write: gptqWriter({ bits: 4, group: 16, symmetric: false }, { version: 1, scattered: true }),
    format: "f32",
    kernelsOf: "compressed-tensors W4A16 with scattered groups",
  },
  {
    name: "GPTQ with dynamic rules",
    sizes: WORDS,
    config: own({
      ...gptq,
      dynamic: { "-:.*self_attn.*": {}, "+:.*experts.*": { bits: 8, group_size: 8 } },
    }),
    write: expertsOnly(gptqWriter({ bits: 8, group: 8, symmetric: true }, { version: 1 })),
    format: "int8",
    block: [1, 8],
  },
  {
    name: "AWQ in ragged groups",
    sizes: WORDS,
    config: own({
      quant_method: "awq",
      bits: 4,
      group_size: 16,
      version: "GEMM",
      zero_point: true,
      modules_to_not_convert: ["gate"],
    }),
    write: awqWriter(16),
    format: "int4_affine",
    block: [1, 16],
    kernelsOf: "GPTQ of the first version with zero points",
  },
];

/** Opens the packed and the plain model of a case. */
async function withModels(
  { sizes, config, write }: DialectCase,
  use: (
    packed: Awaited<ReturnType<typeof openBareModel>>,
    expected: Float32Array,
  ) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir();
  const folders = { packed: `${root}/packed`, plain: `${root}/plain` };
  try {
    for (const folder of Object.values(folders)) await Deno.mkdir(folder);
    await writeDialectModel(folders, sizes, config, write);
    const plain = await openBareModel(folders.plain);
    const packed = await openBareModel(folders.packed);
    try {
      const { graph } = await packedGraph(plain);
      await use(packed, await logitsOf(graph, plain.checkpoint, PROMPT));
    } finally {
      await plain.checkpoint.close();
      await packed.checkpoint.close();
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

for (const dialect of CASES) {
  Deno.test(`${dialect.name}: the CPU gives the logits of the numbers written`, async () => {
    await withModels(dialect, async (model, expected) => {
      const { graph, records } = await packedGraph(model);
      for (const { attrs } of fusedLayers(graph)) {
        assert.deepEqual([attrs.format, attrs.block], [dialect.format, dialect.block]);
      }
      const unread = records.load_weights.notes.filter((note) => note.startsWith("Not read"));
      assert.deepEqual(unread.filter((note) => note.includes("unknown")), []);
      const error = relativeError(await logitsOf(graph, model.checkpoint, PROMPT), expected);
      assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
    });
  });
}

/** The formats and blocks of a model's matrices, which decide what its kernels are. */
function kernelsOf(model: Model) {
  return packedGraph(model).then(({ graph }) => {
    const kinds = graph.nodes.flatMap((node) => {
      if (!isOp(node, "fused_moe") && !isOp(node, "fused_linear")) return [];
      return [`${node.op} ${node.attrs.format} ${node.attrs.block ?? ""}`];
    });
    return [...new Set(kinds)].sort();
  });
}

Deno.test("a dialect that leaves WebGPU to another has the same kernels", async () => {
  for (const dialect of CASES.filter((each) => each.kernelsOf)) {
    const other = CASES.find(({ name }) => name === dialect.kernelsOf);
    assert.ok(other && !other.kernelsOf, `${dialect.name}: ${dialect.kernelsOf} runs on WebGPU`);
    await withModels(
      dialect,
      (own) =>
        withModels(
          other,
          async (theirs) =>
            assert.deepEqual(await kernelsOf(own), await kernelsOf(theirs), dialect.name),
        ),
    );
  }
});

// One device for all: what the models have in common is compiled once. The backends take turns, as
// `tests/kernels/moe/packed_test.ts` says that they read weights by one text.
webgpuTest("each dialect's format gives them with triton or trtllm", async (t) => {
  await withSharedExecutor(async (executor) => {
    const own = CASES.filter(({ kernelsOf }) => !kernelsOf);
    for (const [i, dialect] of own.entries()) {
      const backend = ["triton", "trtllm"][i % 2];
      const decoded = decodedInTurn(i, PROMPT.length);
      await t.step(
        `${dialect.name}, ${backend}`,
        () =>
          withModels(dialect, async (model, expected) => {
            const { graph } = await packedGraph(model, withBackend(backend));
            assert.ok(fusedLayers(graph).every(({ attrs }) => attrs.backend === backend));
            const got = await deviceLogits(executor, graph, model.checkpoint, PROMPT, decoded);
            const error = relativeError(got, expected);
            assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
          }),
      );
    }
  });
});
