import assert from "node:assert/strict";
import { PACKED_FORMATS, PACKED_LAYOUTS } from "../../../graph/mod.ts";
import { extentOf } from "../../../kernels/access/extent.ts";
import { skinnyShape } from "../../../kernels/linear/skinny.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import {
  activation,
  type OpInput,
  randomWeight,
  runOp,
  worstDifference,
} from "../../support/op_case.ts";
import { packedInputs } from "../../support/packed_inputs.ts";
import { DispatchRunner } from "../../support/run_dispatches.ts";

interface PackedCase {
  readonly T: number;
  readonly K: number;
  readonly N: number;
  readonly block?: readonly [number, number];
  /** With the kernels that GPUs take. */
  readonly gpu?: boolean;
}

/**
 * Cases for formats in turns: each has rows of whole words with one kernel and ragged ones with another.
 * That every format is unpacked right in both is what the tests of `weightAccess()` say.
 */
const CASES: readonly (readonly PackedCase[])[] = [
  [
    { T: 1, K: 64, N: 24 },
    { T: 40, K: 96, N: 70 },
    { T: 19, K: 130, N: 7, gpu: true },
    { T: 33, K: 144, N: 40, block: [24, 40] },
    { T: 1, K: 160, N: 33, block: [16, 32] },
  ],
  [
    { T: 3, K: 130, N: 7 },
    { T: 40, K: 96, N: 70, gpu: true },
    { T: 33, K: 144, N: 40, block: [24, 40], gpu: true },
    { T: 1, K: 160, N: 33, block: [16, 32] },
  ],
];

webgpuTest("linear reads every packed format like the CPU reference", async (t) => {
  const runner = await DispatchRunner.open();
  try {
    for (const [i, format] of PACKED_FORMATS.entries()) {
      for (const { T, K, N, block, gpu } of CASES[i % 2]) {
        const rowBlocks = PACKED_LAYOUTS[format].defaultBlock[0] !== 1;
        if (block && !rowBlocks) continue;
        await t.step(
          `${format} T=${T} K=${K} N=${N} block ${block ?? "default"}${gpu ? ", GPU" : ""}`,
          async () => {
            const { got, expected } = await runOp(runner, {
              op: "linear",
              attrs: { format, ...(block && { block }) },
              inputs: { x: activation(["T", K], { T }, 1), ...packedInputs(format, N, K, block) },
              sizes: { T },
              context: {
                tokens: { min: 1, max: T },
                ...(gpu && { profile: { ...runner.profile, software: false } }),
              },
            });
            const worst = worstDifference(got[0], expected[0]);
            assert.ok(worst < 2e-6, `off by ${worst}`);
          },
        );
      }
    }
  } finally {
    runner.close();
  }
});

webgpuTest("linear rounds its input like the CPU reference, after the norm", async (t) => {
  const runner = await DispatchRunner.open();
  const scale: OpInput = { weight: true, dtype: "f32", shape: [1], data: Float32Array.of(1 / 500) };
  const roundings = [
    { format: "fp8_e4m3", activationQuant: "static" },
    { format: "fp8_e4m3", activationQuant: "dynamic" },
    { format: "fp8_block", activationQuant: "dynamic", block: [16, 24] },
  ] as const;
  try {
    for (const attrs of roundings) {
      for (
        const { T, K, N, norm } of [{ T: 1, K: 64, N: 24 }, { T: 34, K: 70, N: 9, norm: true }]
      ) {
        await t.step(`${JSON.stringify(attrs)} T=${T} K=${K} N=${N}`, async () => {
          const block = "block" in attrs ? attrs.block : undefined;
          const { got, expected } = await runOp(runner, {
            op: "fused_linear",
            attrs: { ...attrs, ...(norm && { normEps: 1e-6 }) },
            inputs: {
              x: activation(["T", K], { T }, 5),
              ...packedInputs(attrs.format, N, K, block),
              ...(norm && { norm_weight: randomWeight("f32", [K], 8) }),
              ...(attrs.activationQuant === "static" && { x_scale: scale }),
            },
            sizes: { T },
            context: { tokens: { min: 1, max: T } },
          });
          const worst = worstDifference(got[0], expected[0]);
          assert.ok(worst < 2e-6, `off by ${worst}`);
        });
      }
    }
  } finally {
    runner.close();
  }
});

Deno.test("skinnyShape() takes as many rows as there is workgroup memory for", () => {
  const rows = (format: "bf16" | "int4_affine", most: number, bytes: number) => {
    const payload = { name: "w", dtype: "bf16", shape: [70, 96] } as never;
    const scales = ["w_scale", "w_scale_2"].map((name) => ({ ...payload as object, name }));
    return skinnyShape({
      ...{ name: "test", x: payload, y: payload, rows: extentOf(["T"]), outputs: 70 },
      largestRows: most,
      weight: { format, payload, columns: 96, chunkWords: true, scales: scales as never },
    }, { ...GPU_PROFILE, maxWorkgroupStorageBytes: bytes }).rows;
  };
  assert.deepEqual([rows("bf16", 40, 49152), rows("bf16", 20, 49152)], [16, 8]);
  assert.deepEqual([rows("int4_affine", 40, 69632), rows("int4_affine", 40, 69631)], [16, 8]);
  assert.equal(rows("int4_affine", 40, 32768), 4);
});
