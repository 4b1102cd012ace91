/** MoE layers with packed weights and rounded activations, on the GPU and on the CPU. */

import assert from "node:assert/strict";
import { PACKED_FORMATS, type PackedFormat } from "../../../graph/mod.ts";
import { moeBackends } from "../../../kernels/moe/backend.ts";
import {
  type GemmTile,
  type MoeConfig,
  wordElements,
} from "../../../kernels/moe/algorithms/config.ts";
import { moeSpecOf } from "../../../kernels/moe/spec.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { numbersOf } from "../../support/host_tensors.ts";
import { CONFIGS } from "../../support/moe_configs.ts";
import { lowerWith } from "../../support/moe_layer.ts";
import { buildNode, runOp } from "../../support/op_case.ts";
import { packedLayer, type PackedOptions } from "../../support/packed_layer.ts";
import { DispatchRunner } from "../../support/run_dispatches.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

/** Every format with sizes that its words and blocks divide, and with others. */
const WEIGHTS: readonly PackedOptions[] = PACKED_FORMATS.flatMap((format) => [
  { format, hidden: 64, intermediate: 32 },
  { format, hidden: 46, intermediate: 26, bias: true, residual: true },
]);

const BLOCKS: readonly PackedOptions[] = [
  { format: "fp8_block", block: [32, 32], hidden: 64, intermediate: 96 },
  { format: "fp8_block", block: [24, 20], hidden: 70, intermediate: 50 },
  { format: "fp8_e4m3", block: [16, 16], hidden: 48, intermediate: 32 },
  { format: "int8", block: [1, 16], hidden: 48, intermediate: 40 },
  { format: "int4", block: [1, 64], hidden: 96, intermediate: 64 },
];

const ROUNDED: readonly PackedOptions[] = [
  { format: "fp8_e4m3", activationQuant: "static" },
  { format: "fp8_e4m3", activationQuant: "static", inputScales: "each", residual: true },
  { format: "fp8_e4m3", activationQuant: "static", inputScales: "each", mlp: "plain" },
  { format: "fp8_e4m3", activationQuant: "dynamic", hidden: 37, intermediate: 19, bias: true },
  { format: "fp8_block", activationQuant: "dynamic", block: [16, 16], hidden: 72, tokens: 3 },
  { format: "fp8_block", activationQuant: "static", block: [8, 24], topK: 3 },
];

/**
 * The same algorithms with as few sums an invocation as they take: a software adapter compiles the
 * unpacking of every format for every sum. More rows are tried with one format, below, and without
 * packing by `layer_test.ts`.
 */
const SMALL: Readonly<Record<string, MoeConfig>> = {
  ...CONFIGS,
  grouped: withTiles(
    CONFIGS.grouped,
    8,
    (tile) => ({ ...tile, threadM: 2, threadN: 2, blockK: 8 }),
  ),
  permuted: withTiles(
    CONFIGS.permuted,
    8,
    (tile) => ({ ...tile, threadM: 2, threadN: 2, blockK: 8 }),
  ),
  direct: withTiles(CONFIGS.direct, 8, (tile) => ({ ...tile, threadM: 4 })),
  skinny: withTiles(CONFIGS.skinny, 4, (tile) => ({ ...tile, threadM: 4, threadN: 2 })),
};

function withTiles(config: MoeConfig, blockM: number, tile: (of: GemmTile) => GemmTile): MoeConfig {
  if (config.algorithm === "slots" || config.algorithm === "experts") return config;
  return { ...config, blockM, up: tile(config.up), down: tile(config.down) };
}

/** The configuration with tiles as deep as a word of the format. */
function fitting(config: MoeConfig, format: PackedFormat): MoeConfig {
  if (config.algorithm === "slots" || config.algorithm === "experts") return config;
  const deep = (tile: GemmTile) => ({
    ...tile,
    blockK: Math.max(tile.blockK, tile.lanes * wordElements(format)),
  });
  return { ...config, up: deep(config.up), down: deep(config.down) };
}

for (const [algorithm, small] of Object.entries(SMALL)) {
  const check = (name: string, layers: readonly PackedOptions[], config = small) =>
    webgpuTest(`${algorithm}: ${name} like the CPU`, async (t) => {
      const runner = await DispatchRunner.open();
      for (const options of layers) {
        await t.step(JSON.stringify(options), async () => {
          const lower = lowerWith(fitting(config, options.format));
          const layer = { ...packedLayer(options), lower };
          const { got, expected } = await runOp(runner, layer);
          const error = relativeError(numbersOf(got[0]), numbersOf(expected[0]));
          assert.ok(error <= TOLERANCES.moeF32, `off by ${error}`);
        });
      }
      runner.close();
    });
  check("experts of every packed format", WEIGHTS);
  check("blocks of many sizes", BLOCKS);
  check("activations rounded in front of both products", ROUNDED);
  const full = CONFIGS[algorithm as keyof typeof CONFIGS];
  if (full !== small) {
    const layers: readonly PackedOptions[] = [{ format: "fp8_e4m3", hidden: 46, intermediate: 26 }];
    check("packed experts with more rows and columns an invocation", layers, full);
  }
}

Deno.test("backends refuse roundings that nobody can mean, with the reason", () => {
  const cases: readonly [PackedOptions, RegExp][] = [
    [
      { format: "int8", activationQuant: "dynamic" },
      /^cannot round activations \(dynamic\) in front of int8 weights, only of FP8 ones$/,
    ],
    [
      { format: "fp8_e4m3", activationQuant: "static", applyRoutingOnInput: true },
      /^cannot round activations \(static\) that a routing weight multiplies$/,
    ],
  ];
  const onDevice = moeBackends().filter(({ name }) => name === "triton" || name === "trtllm");
  assert.equal(onDevice.length, 2);
  for (const [options, reason] of cases) {
    const spec = moeSpecOf(buildNode(packedLayer(options)).node);
    for (const backend of onDevice) {
      assert.match(backend.supports(spec) ?? "", reason, backend.name);
    }
  }
});
