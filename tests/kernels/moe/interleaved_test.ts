/** Experts whose rows are in the interleaved order, which GPUs read: every kernel against the CPU. */

import assert from "node:assert/strict";
import type { Node, PackedFormat } from "../../../graph/mod.ts";
import type { DeviceProfile } from "../../../kernels/kernel.ts";
import {
  type GemmTile,
  type MoeConfig,
  wordElements,
} from "../../../kernels/moe/algorithms/config.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { numbersOf } from "../../support/host_tensors.ts";
import { MATRIX_CONFIGS, withMatrices } from "../../support/matrix_configs.ts";
import { CONFIGS, SMALL_CONFIGS } from "../../support/moe_configs.ts";
import { lowerWith } from "../../support/moe_layer.ts";
import { buildNode, runOp } from "../../support/op_case.ts";
import { packedLayer, type PackedOptions } from "../../support/packed_layer.ts";
import { withRunner } from "../../support/run_dispatches.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

/**
 * Words of a row, two for each invocation of a subgroup of eight and more: fours alone, and one, two and
 * three that are left behind them; one of the two products alone.
 */
const LAYERS: readonly PackedOptions[] = [
  { format: "mxfp4", hidden: 512, intermediate: 544, bias: true, experts: 4 },
  { format: "mxfp4", hidden: 576, intermediate: 608, residual: true, tokens: 3, experts: 4 },
  { format: "mxfp4", hidden: 96, intermediate: 512, mlp: "plain", activation: "relu2" },
  { format: "int4", hidden: 576, intermediate: 40 },
  { format: "int4", block: [1, 8], hidden: 40, intermediate: 544 },
  { format: "int4_affine", hidden: 544, intermediate: 40 },
  { format: "int8", hidden: 272, intermediate: 40 },
  { format: "int8_affine", hidden: 40, intermediate: 288 },
  { format: "fp8_e4m3", hidden: 304, intermediate: 24 },
  { format: "fp8_block", block: [32, 32], hidden: 288, intermediate: 256, tokens: 2 },
];

/** Tiles as deep as a word, with few sums: a software adapter compiles the unpacking for each. */
function fitting(config: MoeConfig): MoeConfig {
  if (!("blockM" in config)) return config;
  const deep = (tile: GemmTile): GemmTile => ({
    ...tile,
    blockK: Math.max(
      tile.blockK,
      (tile.staging === "rows" ? tile.lanes : 1) * wordElements("mxfp4"),
    ),
  });
  return { ...config, up: deep(config.up), down: deep(config.down) };
}

/** Two rows for a group of lanes, and all words of a row in flight. */
const TWO_ROWS: MoeConfig = {
  algorithm: "slots",
  lanes: 8,
  up: { values: 2, unroll: 4, groups: 2 },
  down: { values: 2, unroll: 2, groups: 2 },
};

const WAYS: readonly (readonly [string, MoeConfig, (profile: DeviceProfile) => DeviceProfile])[] = [
  ...Object.entries({ ...SMALL_CONFIGS, "slots of two rows": TWO_ROWS }).map(([name, config]) =>
    [name, fitting(config), (profile: DeviceProfile) => profile] as const
  ),
  ...Object.entries(MATRIX_CONFIGS).map(([name, config]) =>
    [
      `${name} by matrices`,
      fitting(config),
      (profile: DeviceProfile) => withMatrices(profile, { m: 16, n: 16, k: 16 }, true),
    ] as const
  ),
];

/** Two layers for each way, in turns: a software adapter compiles for seconds. */
function layersFor(turn: number): readonly PackedOptions[] {
  const others = LAYERS.slice(3);
  return [LAYERS[turn % 3], others[turn % others.length]];
}

for (const [turn, [name, config, profileOf]] of WAYS.entries()) {
  webgpuTest(`${name}: interleaved experts like the CPU`, (t) =>
    withRunner(async (runner) => {
      const { subgroupSize } = runner.profile;
      // Its broadcasts need subgroups of the size that the profile names, as software adapters have.
      if (name === "direct" && subgroupSize !== 8) {
        const reason = `subgroups of ${subgroupSize}, not of 8`;
        await t.step({ name: `direct [left out: ${reason}]`, ignore: true, fn() {} });
        return;
      }
      const profile = profileOf({ ...runner.profile, software: false, subgroupSize: 8 });
      const isHalf = name.endsWith("matrices");
      for (const options of layersFor(turn)) {
        await t.step(JSON.stringify(options), async () => {
          const layer = packedLayer({ ...options, ...(isHalf && { operands: "auto" }) });
          const { got, expected } = await runOp(runner, {
            ...layer,
            lower: lowerWith(config),
            context: { profile },
          });
          const error = relativeError(numbersOf(got[0]), numbersOf(expected[0]));
          assert.ok(
            error <= (isHalf ? TOLERANCES.moeF16Operands : TOLERANCES.moeF32),
            `off by ${error}`,
          );
        });
      }
    }));
}

Deno.test("GPUs read long rows of packed experts interleaved, software adapters never do", () => {
  // Subgroups of eight, for which shorter rows are long: so many as 32 need take seconds to quantize.
  const gpu = { ...GPU_PROFILE, subgroupSize: 8 };
  const long = { hidden: 576, intermediate: 480, experts: 2 };
  const nodeOf = (format: PackedFormat) => buildNode(packedLayer({ ...long, format })).node;
  const orders = (node: Node<"fused_moe">, profile: DeviceProfile) =>
    lowerWith(CONFIGS.slots)(node, {
      ...{ profile, tokens: { min: 1, max: 1 }, maxRows: 1, pageSize: 16 },
      cacheDtype: () => "f32",
      note() {},
    }).map(({ bindings }) => bindings.flatMap(({ order }) => order ? [order] : []));
  const layer = nodeOf("mxfp4");
  assert.deepEqual(orders(layer, gpu), [[
    { arranged: true, unitBytes: 4, units: 72, parts: 4, columns: 16, rows: 1 },
    { unitBytes: 1, units: 18, parts: 4, columns: 4, rows: 2 },
  ], []]);
  assert.deepEqual(orders(layer, { ...gpu, software: true }), [[], []]);
  assert.deepEqual(orders(nodeOf("fp8_e4m3"), gpu), [
    [{ unitBytes: 8, units: 72, parts: 2, columns: 36, rows: 1 }],
    [{ unitBytes: 8, units: 60, parts: 2, columns: 28, rows: 1 }],
  ]);
  assert.deepEqual(orders(nodeOf("nvfp4"), gpu), [[], []]);
});
