import assert from "node:assert/strict";
import { input, type Node, optionalInput, type PackedFormat } from "../../../graph/mod.ts";
import { extentOf } from "../../../kernels/access/extent.ts";
import {
  GEMM_SHAPES,
  gemmDispatches,
  type GemmShape,
  SOFTWARE_SHAPES,
} from "../../../kernels/linear/gemm.ts";
import type { LoweringContext } from "../../../kernels/kernel.ts";
import type { LinearProblem } from "../../../kernels/linear/problem.ts";
import { skinnyDispatches, type SkinnyShape } from "../../../kernels/linear/skinny.ts";
import { webgpuTest } from "../../support/adapter.ts";
import {
  activation,
  type OpInput,
  randomWeight,
  runOp,
  worstDifference,
} from "../../support/op_case.ts";
import { packedInputs } from "../../support/packed_inputs.ts";
import { TOLERANCES } from "../../support/tolerances.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";

const DTYPES = ["f32", "f16", "bf16"] as const;

interface LinearCase {
  readonly T: number;
  readonly K: number;
  readonly N: number;
  readonly dtype: (typeof DTYPES)[number];
  readonly norm?: boolean;
  readonly bias?: boolean;
  readonly residual?: boolean;
  readonly max?: number;
}

function linearInputs(c: LinearCase): Record<string, OpInput | undefined> {
  const sizes = { T: c.T };
  return {
    x: activation(["T", c.K], sizes, 1),
    w: randomWeight(c.dtype, [c.N, c.K], 2),
    bias: c.bias ? randomWeight("f32", [c.N], 3) : undefined,
    norm_weight: c.norm ? randomWeight("f32", [c.K], 4) : undefined,
    residual: c.residual ? activation(["T", c.N], sizes, 5) : undefined,
  };
}

async function checkLinear(
  runner: DispatchRunner,
  c: LinearCase,
  context: Partial<LoweringContext> = {},
): Promise<void> {
  const { got, expected } = await runOp(runner, {
    op: "fused_linear",
    attrs: c.norm ? { normEps: 1e-5 } : {},
    inputs: linearInputs(c),
    sizes: { T: c.T },
    context: { ...context, tokens: { min: 1, max: c.max ?? c.T } },
  });
  const worst = worstDifference(got[0], expected[0]);
  assert.ok(worst < TOLERANCES.kernelF32, `${JSON.stringify(c)}: off by ${worst}`);
}

function skinnyProblem(node: Node, c: LinearCase): LinearProblem {
  const norm = optionalInput(node, "norm_weight");
  return {
    name: "fused_linear",
    x: input(node, "x"),
    y: node.outputs[0],
    weight: { format: c.dtype, payload: input(node, "w"), columns: c.K, chunkWords: true },
    rows: extentOf(["T"]),
    largestRows: c.T,
    outputs: c.N,
    bias: optionalInput(node, "bias"),
    residual: optionalInput(node, "residual"),
    ...(norm && { norm: { weight: norm, eps: 1e-5 } }),
  };
}

const CASES: readonly LinearCase[] = [
  ...DTYPES.map((dtype) => ({ T: 1, K: 64, N: 48, dtype, norm: true, bias: true, residual: true })),
  ...DTYPES.map((dtype) => ({ T: 3, K: 37, N: 5, dtype, norm: true, bias: true, max: 8 })),
  ...DTYPES.map((dtype) => ({ T: 8, K: 264, N: 33, dtype, residual: true })),
  { T: 2, K: 1040, N: 4099, dtype: "bf16", norm: true },
  { T: 11, K: 96, N: 70, dtype: "bf16", norm: true, bias: true, residual: true, max: 16 },
  ...DTYPES.map((dtype) => ({
    T: 33,
    K: 72,
    N: 66,
    dtype,
    norm: true,
    bias: true,
    residual: true,
  })),
  { T: 17, K: 7, N: 3, dtype: "bf16", norm: true, bias: true, residual: true },
  { T: 40, K: 131, N: 129, dtype: "f16", bias: true, residual: true, max: 64 },
  { T: 130, K: 48, N: 260, dtype: "bf16", norm: true },
];

webgpuTest(
  "fusedLinear gives what the CPU gives for odd and even sizes",
  () =>
    withRunner(async (runner) => {
      for (const c of CASES) await checkLinear(runner, c);
    }),
);

webgpuTest(
  "fusedLinear takes up to eight rows at a time on a GPU",
  () =>
    withRunner(async (runner) => {
      const context = { profile: { ...runner.profile, software: false } };
      for (const c of CASES.filter(({ T }) => T >= 8 && T <= 16)) {
        await checkLinear(runner, c, context);
      }
    }),
);

webgpuTest("fusedLinear needs no subgroups", () =>
  withRunner(async (runner) => {
    assert.equal(runner.profile.subgroups, false);
    for (const c of CASES.slice(0, 8)) await checkLinear(runner, c);
  }, { without: ["subgroups"] }));

/** A product by GEMM in tiles of one shape. */
async function checkTile(
  runner: DispatchRunner,
  shape: GemmShape,
  { T, K, N, format }: Pick<LinearCase, "T" | "K" | "N"> & { format?: PackedFormat },
): Promise<void> {
  const { got, expected } = await runOp(runner, {
    op: "linear",
    attrs: format ? { format } : {},
    inputs: format
      ? { x: activation(["T", K], { T }, 1), ...packedInputs(format, N, K, undefined) }
      : linearInputs({ T, K, N, dtype: "bf16", bias: true }),
    sizes: { T },
    lower: (node, { profile }) =>
      gemmDispatches(
        {
          name: "linear",
          x: input(node, "x"),
          y: node.outputs[0],
          weight: {
            format: format ?? "bf16",
            payload: input(node, "w"),
            columns: K,
            scales: ["w_scale"].flatMap((name) => optionalInput(node, name) ?? []),
          },
          rows: extentOf(["T"]),
          largestRows: T,
          outputs: N,
          bias: optionalInput(node, "bias"),
        },
        profile,
        { shape },
      ),
  });
  const worst = worstDifference(got[0], expected[0]);
  assert.ok(
    worst < TOLERANCES.kernelF32,
    `${JSON.stringify({ shape, T, K, N, format })}: ${worst}`,
  );
}

webgpuTest("gemmDispatches is right with every tile", () =>
  withRunner(async (runner) => {
    for (const shape of [...GEMM_SHAPES, ...Object.values(SOFTWARE_SHAPES)]) {
      for (const c of [{ T: 150, K: 88, N: 140 }, { T: 21, K: 36, N: 30 }]) {
        await checkTile(runner, shape, c);
      }
    }
    // Fewer words than invocations, and as many for each.
    await checkTile(runner, GEMM_SHAPES[2], { T: 40, K: 96, N: 70, format: "int4" });
    await checkTile(runner, GEMM_SHAPES[0], { T: 40, K: 130, N: 70, format: "fp8_block" });
  }));

webgpuTest("skinnyDispatches is right with every shape, with and without subgroups", async () => {
  const shapes: readonly SkinnyShape[] = [
    { threads: 128, lanes: 8, outputs: 4, rows: 8 },
    { threads: 64, lanes: 16, outputs: 4, rows: 8 },
    { threads: 128, lanes: 16, outputs: 4, rows: 16 },
    { threads: 128, lanes: 8, outputs: 4, rows: 16 },
    { threads: 64, lanes: 4, outputs: 1, rows: 4 },
  ];
  const cases: readonly LinearCase[] = [
    { T: 33, K: 72, N: 66, dtype: "bf16", norm: true, bias: true, residual: true },
    { T: 17, K: 7, N: 3, dtype: "f32", norm: true, bias: true },
    { T: 61, K: 520, N: 129, dtype: "f16", residual: true },
    { T: 40, K: 131, N: 70, dtype: "bf16", norm: true },
  ];
  for (const [side, without] of ([[], ["subgroups"]] as const).entries()) {
    await withRunner(async (runner) => {
      for (const [i, shape] of shapes.entries()) {
        // Every shape meets every case, with subgroups or without them, and half of the cases in each way.
        for (const c of cases.filter((_, at) => (at + i) % 2 === side)) {
          const { got, expected } = await runOp(runner, {
            op: "fused_linear",
            attrs: c.norm ? { normEps: 1e-5 } : {},
            inputs: linearInputs(c),
            sizes: { T: c.T },
            lower: (node, { profile }) => skinnyDispatches(skinnyProblem(node, c), profile, shape),
          });
          const worst = worstDifference(got[0], expected[0]);
          assert.ok(worst < TOLERANCES.kernelF32, `${JSON.stringify({ shape, ...c })}: ${worst}`);
        }
      }
    }, { without });
  }
});

webgpuTest(
  "a GPU takes 17 to 64 rows without tiles of weights",
  () =>
    withRunner(async (runner) => {
      const profile = { ...runner.profile, software: false };
      for (const T of [17, 64, 65]) {
        const { got, expected, dispatches } = await runOp(runner, {
          op: "fused_linear",
          attrs: { normEps: 1e-5 },
          inputs: linearInputs({ T, K: 136, N: 70, dtype: "bf16", norm: true, residual: true }),
          sizes: { T },
          context: { profile, tokens: { min: 1, max: T } },
        });
        assert.ok(worstDifference(got[0], expected[0]) < TOLERANCES.kernelF32, `${T} rows`);
        const names = T <= 64 ? ["fused_linear_skinny"] : ["rms_norm", "fused_linear_gemm"];
        assert.deepEqual(dispatches.map(({ kernel }) => kernel), names);
      }
    }),
);

webgpuTest(
  "fusedLinear splits a weight that no binding can hold",
  () =>
    withRunner(async (runner) => {
      for (const T of [1, 20]) {
        const c: LinearCase = { T, K: 128, N: 700, dtype: "bf16", bias: true, residual: true };
        const { got, expected, dispatches } = await runOp(runner, {
          op: "fused_linear",
          attrs: {},
          inputs: linearInputs(c),
          sizes: { T },
          context: { profile: { ...runner.profile, maxBindingBytes: 64 << 10 } },
        });
        assert.ok(dispatches.length >= 3, `${dispatches.length} dispatches`);
        const bytes = dispatches.reduce(
          (sum, { weightBytes }) => sum + (weightBytes?.({ T, R: 1, S: 1, P: 1 }) ?? 0),
          0,
        );
        assert.equal(bytes, c.N * c.K * 2);
        assert.ok(worstDifference(got[0], expected[0]) < TOLERANCES.kernelF32);
      }
    }),
);

webgpuTest("linear over rows of logits follows R, not T", () =>
  withRunner(async (runner) => {
    const sizes = { T: 9, R: 3 };
    const { got, expected } = await runOp(runner, {
      op: "linear",
      attrs: {},
      inputs: { x: activation(["R", 64], sizes, 1), w: randomWeight("bf16", [50, 64], 2) },
      sizes,
      context: { maxRows: 4 },
    });
    assert.deepEqual(got[0].shape, [3, 50]);
    assert.ok(worstDifference(got[0], expected[0]) < TOLERANCES.kernelF32);
  }));

webgpuTest(
  "fusedLinear takes few rows of logits and many through one lowering",
  () =>
    withRunner(async (runner) => {
      const kernels: string[][] = [];
      for (const R of [1, 5, 16, 17, 40]) {
        const sizes = { T: 64, R };
        const { got, expected, dispatches } = await runOp(runner, {
          op: "fused_linear",
          attrs: { normEps: 1e-5 },
          inputs: {
            x: activation(["R", 72], sizes, 1),
            w: randomWeight("bf16", [50, 72], 2),
            norm_weight: randomWeight("f32", [72], 4),
          },
          sizes,
          context: { maxRows: 40 },
        });
        const worst = worstDifference(got[0], expected[0]);
        assert.ok(worst < TOLERANCES.kernelF32, `${R} rows: off by ${worst}`);
        const step = { S: 1, P: 1, ...sizes };
        const running = dispatches.filter((each) => each.workgroups(step).every((n) => n > 0));
        kernels.push(running.map(({ kernel }) => kernel));
        const bytes = dispatches.reduce((sum, each) => sum + (each.weightBytes?.(step) ?? 0), 0);
        assert.equal(bytes, 50 * 72 * 2, "only what runs reads weights");
      }
      const few = ["fused_linear_gemv"];
      const many = runner.profile.software
        ? ["rms_norm", "fused_linear_gemm"]
        : ["fused_linear_skinny"];
      assert.deepEqual(kernels, [few, few, few, many, many]);
    }),
);

webgpuTest("linear gives the same bits in every run", () =>
  withRunner(async (runner) => {
    for (const T of [1, 5, 40]) {
      const c: LinearCase = { T, K: 520, N: 60, dtype: "bf16", norm: true };
      const runs = [];
      for (let i = 0; i < 3; i++) {
        const { got } = await runOp(runner, {
          op: "fused_linear",
          attrs: { normEps: 1e-5 },
          inputs: linearInputs(c),
          sizes: { T },
        });
        runs.push(got[0].data);
      }
      assert.deepEqual(runs[1], runs[0]);
      assert.deepEqual(runs[2], runs[0]);
    }
  }));

webgpuTest("gatedMlp takes few rows and many", () =>
  withRunner(async (runner) => {
    for (const [T, I] of [[1, 64], [8, 27], [40, 72], [33, 30]]) {
      const sizes = { T };
      const { got, expected } = await runOp(runner, {
        op: "gated_mlp",
        attrs: { activation: "silu" },
        inputs: {
          x: activation(["T", 48], sizes, 1),
          w_gate: randomWeight("bf16", [I, 48], 3),
          w_up: randomWeight("bf16", [I, 48], 4),
          w_down: randomWeight("bf16", [48, I], 5),
          residual: activation(["T", 48], sizes, 6),
        },
        sizes,
      });
      const worst = worstDifference(got[0], expected[0]);
      assert.ok(worst < TOLERANCES.kernelF32, `${T} rows: off by ${worst}`);
    }
  }));
