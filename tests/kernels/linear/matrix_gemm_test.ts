/** Dense products by matrices of subgroups: tiles, edges and epilogues, with plain WGSL as matrices. */

import assert from "node:assert/strict";
import { type AttrsOf, PACKED_FORMATS } from "../../../graph/mod.ts";
import type { DeviceProfile, MatrixShape } from "../../../kernels/kernel.ts";
import { fusedLinear } from "../../../kernels/linear/linear.ts";
import { gatedMlp } from "../../../kernels/linear/gated_mlp.ts";
import { matrixTile } from "../../../kernels/linear/matrix_gemm.ts";
import { extentOf } from "../../../kernels/access/extent.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { numbersOf } from "../../support/host_tensors.ts";
import { MATRIX_SHAPES, withMatrices } from "../../support/matrix_configs.ts";
import {
  activation,
  type OpCase,
  type OpInput,
  randomF32,
  randomWeight,
  runOp,
} from "../../support/op_case.ts";
import { packedInputs } from "../../support/packed_inputs.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

interface LinearCase {
  readonly T: number;
  readonly K: number;
  readonly N: number;
  readonly dtype?: "f32" | "f16" | "bf16";
  readonly norm?: boolean;
  readonly bias?: boolean;
  readonly residual?: boolean;
  /** Size of x, whose rows differ by powers of ten besides. */
  readonly scale?: number;
}

const CASES: readonly LinearCase[] = [
  { T: 33, K: 72, N: 66, norm: true, bias: true, residual: true },
  { T: 17, K: 7, N: 3, bias: true, residual: true },
  { T: 40, K: 131, N: 129, dtype: "f16", bias: true },
  { T: 70, K: 64, N: 128, dtype: "f32" },
  { T: 130, K: 96, N: 260, norm: true },
  { T: 20, K: 64, N: 40, scale: 1e9 },
  { T: 20, K: 64, N: 40, scale: 1e-12 },
];

function linearCase(c: LinearCase): OpCase<"fused_linear"> {
  const { T, K, N, dtype = "bf16", scale = 1 } = c;
  const sizes = { T };
  const x = randomF32(T * K, 1, scale).map((value, i) => value * 10 ** (Math.floor(i / K) % 4));
  return {
    op: "fused_linear",
    attrs: c.norm ? { normEps: 1e-5 } : {},
    inputs: {
      x: { dtype: "f32", shape: ["T", K], data: x },
      w: randomWeight(dtype, [N, K], 2),
      bias: c.bias ? randomWeight("f32", [N], 3) : undefined,
      norm_weight: c.norm ? randomWeight("f32", [K], 4) : undefined,
      residual: c.residual ? activation(["T", N], sizes, 5) : undefined,
    },
    sizes,
  };
}

/** Runs a case by plain matrices; every row is compared on its own, as rows have scales of their own. */
async function check(
  runner: DispatchRunner,
  given: OpCase<"fused_linear"> | OpCase<"gated_mlp">,
  shape: MatrixShape,
): Promise<string> {
  const profileOf = (profile: DeviceProfile) => withMatrices(profile, shape, true);
  const { got, expected, dispatches } = await runOp(runner, {
    ...given,
    lower: (node: never, context) => {
      const other = { ...context, profile: profileOf(context.profile), operands: "auto" as const };
      return (given.op === "gated_mlp" ? gatedMlp : fusedLinear).lower(node, other);
    },
  } as OpCase<"fused_linear">);
  const columns = Number(got[0].shape.at(-1));
  const [a, b] = [numbersOf(got[0]), numbersOf(expected[0])];
  for (let row = 0; row < a.length; row += columns) {
    const error = relativeError(a.slice(row, row + columns), b.slice(row, row + columns));
    assert.ok(error <= TOLERANCES.moeF16Operands, `row ${row / columns}: relative error ${error}`);
  }
  return dispatches.map(({ kernel }) => kernel).join(" ");
}

webgpuTest(
  "dense products by matrices agree with the CPU, whatever the size of a row",
  async (t) => {
    await withRunner(async (runner) => {
      for (const c of CASES) {
        await t.step(JSON.stringify(c), async () => {
          const kernels = await check(runner, linearCase(c), MATRIX_SHAPES[0]);
          assert.match(kernels, /halve_rows fused_linear_matrices$/);
        });
      }
    });
  },
);

webgpuTest(
  "dense products take matrices of every size and packed weights of every format",
  async (t) => {
    await withRunner(async (runner) => {
      for (const shape of MATRIX_SHAPES) {
        await t.step(`${shape.m}x${shape.n}x${shape.k}`, async () => {
          await check(runner, linearCase({ T: 35, K: 80, N: 70, bias: true }), shape);
        });
      }
      for (const format of PACKED_FORMATS) {
        await t.step(format, async () => {
          const [T, K, N] = [37, 96, 40];
          const attrs: AttrsOf<"fused_linear"> = { format };
          const inputs: Record<string, OpInput> = {
            x: activation(["T", K], { T }, 1),
            ...packedInputs(format, N, K, undefined),
          };
          const given: OpCase<"fused_linear"> = { op: "fused_linear", attrs, inputs, sizes: { T } };
          await check(runner, given, MATRIX_SHAPES[0]);
        });
      }
    });
  },
);

webgpuTest("a dense MLP takes matrices for its three products", async () => {
  await withRunner(async (runner) => {
    const [T, H, I] = [37, 40, 56];
    const sizes = { T };
    const kernels = await check(runner, {
      op: "gated_mlp",
      attrs: { activation: "silu" },
      inputs: {
        x: activation(["T", H], sizes, 1),
        w_gate: randomWeight("bf16", [I, H], 2),
        w_up: randomWeight("bf16", [I, H], 3),
        w_down: randomWeight("bf16", [H, I], 4),
        residual: activation(["T", H], sizes, 5),
      },
      sizes,
    }, MATRIX_SHAPES[0]);
    assert.equal(kernels.match(/_matrices/g)?.length, 3, kernels);
  });
});

Deno.test("matrixTile() grows with the rows, and is for devices and layers that may use matrices", () => {
  const device = withMatrices(GPU_PROFILE, MATRIX_SHAPES[0]);
  const tile = (
    rows: number,
    operands: "f16" | "f32" | "auto",
    profile = device,
    outputs = 6144,
  ) => {
    const payload = { name: "w", dtype: "bf16", shape: [outputs, 2048] } as never;
    const found = matrixTile({
      ...{ name: "test", x: payload, y: payload, largestRows: rows, outputs, operands },
      rows: extentOf(["T"]),
      weight: { format: "bf16", payload, columns: 2048 },
    }, profile);
    return found && `${found.blockM}x${found.blockN}x${found.blockK}`;
  };
  const large = { ...device, maxWorkgroupStorageBytes: 49152 };
  assert.equal(tile(2048, "auto", large), "128x128x64");
  assert.equal(tile(64, "auto", large, 2048), "32x64x32");
  assert.equal(tile(2048, "f32", large), undefined);
  assert.equal(tile(2048, "f16", GPU_PROFILE), undefined);
  assert.equal(tile(2048, "auto", { ...device, maxWorkgroupStorageBytes: 16384 }), "64x128x32");
});
