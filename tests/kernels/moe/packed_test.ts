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
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { numbersOf } from "../../support/host_tensors.ts";
import { CONFIGS, SMALL_CONFIGS } from "../../support/moe_configs.ts";
import { lowerWith } from "../../support/moe_layer.ts";
import { buildNode, runOp } from "../../support/op_case.ts";
import { packedLayer, type PackedOptions } from "../../support/packed_layer.ts";
import { withRunner } from "../../support/run_dispatches.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

/**
 * Every format once for an algorithm: words and blocks divide the columns of one product and not those
 * of the other, in turns, so that every format meets both in every kind of kernel.
 */
function weightsFor(turn: number): readonly PackedOptions[] {
  return PACKED_FORMATS.map((format, i) =>
    (i + turn) % 2 === 0
      ? { format, hidden: 64, intermediate: 26 }
      : { format, hidden: 46, intermediate: 32, bias: true, residual: true }
  );
}

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

/** The configuration with tiles as deep as a word of the format. */
function fitting(config: MoeConfig, format: PackedFormat): MoeConfig {
  if (config.algorithm === "slots" || config.algorithm === "experts") return config;
  const deep = (tile: GemmTile) => ({
    ...tile,
    blockK: Math.max(tile.blockK, tile.lanes * wordElements(format)),
  });
  return { ...config, up: deep(config.up), down: deep(config.down) };
}

function checkLayers(name: string, layers: readonly PackedOptions[], config: MoeConfig): void {
  webgpuTest(`${name} like the CPU`, (t) =>
    withRunner(async (runner) => {
      for (const options of layers) {
        await t.step(JSON.stringify(options), async () => {
          const lower = lowerWith(fitting(config, options.format));
          const { got, expected } = await runOp(runner, { ...packedLayer(options), lower });
          const error = relativeError(numbersOf(got[0]), numbersOf(expected[0]));
          assert.ok(error <= TOLERANCES.moeF32, `off by ${error}`);
        });
      }
    }));
}

/**
 * Half of the layers for an algorithm, the other half for the next: how a block's scale is found, and how
 * rows are rounded, depends on the format, and where it stands on whether the algorithm is a GEMM.
 */
function inTurn(layers: readonly PackedOptions[], turn: number): readonly PackedOptions[] {
  return layers.filter((_, i) => (i + turn) % 2 === 0);
}

/** More rows and columns are tried with one format, below, and without packing by `layer_test.ts`. */
for (
  const [turn, algorithm] of (["slots", "experts", "grouped", "direct", "skinny"] as const)
    .entries()
) {
  const config = SMALL_CONFIGS[algorithm];
  checkLayers(`${algorithm}: experts of every packed format`, weightsFor(turn), config);
  checkLayers(`${algorithm}: blocks of many sizes`, inTurn(BLOCKS, turn), config);
  const rounded = inTurn(ROUNDED, turn);
  checkLayers(`${algorithm}: activations rounded in front of both products`, rounded, config);
}

checkLayers("permuted: rounded activations", [ROUNDED[1], ROUNDED[4]], SMALL_CONFIGS.permuted);

for (const algorithm of ["grouped", "direct", "skinny", "permuted"] as const) {
  const layers: readonly PackedOptions[] = [{ format: "fp8_e4m3", hidden: 64, intermediate: 32 }];
  const name = `${algorithm}: packed experts with more rows and columns an invocation`;
  checkLayers(name, layers, CONFIGS[algorithm]);
}

/** Constants and functions of weights and rows, and the lines that call them. */
const READING = /^(const|alias) (w|rows)_.*$|^fn (w|rows)_[^]*?^\}$|^.*\b(w|rows)_\w+\(.*$/gm;

Deno.test("permuted and grouped GEMMs read weights and round rows by one text, whatever the format", () => {
  const texts = (algorithm: "grouped" | "permuted", options: PackedOptions) => {
    const { node } = buildNode(packedLayer(options));
    return lowerWith(fitting(SMALL_CONFIGS[algorithm], options.format))(node, {
      ...{ profile: GPU_PROFILE, tokens: { min: 1, max: 8 }, maxRows: 1, pageSize: 16 },
      cacheDtype: () => "f32",
      note() {},
    }).filter(({ kernel }) => kernel.startsWith("moe_gemm"))
      .flatMap(({ wgsl }) => wgsl.match(READING) ?? []);
  };
  for (const options of [...weightsFor(0), ...weightsFor(1), ...BLOCKS, ...ROUNDED]) {
    const lines = texts("permuted", options);
    assert.ok(lines.length > 40, `found ${lines.length}`);
    assert.deepEqual(lines, texts("grouped", options));
  }
});

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
