import assert from "node:assert/strict";
import { webgpuTest } from "../support/adapter.ts";
import {
  activation,
  type OpInput,
  randomWeight,
  runOp,
  worstDifference,
} from "../support/op_case.ts";
import { DispatchRunner } from "../support/run_dispatches.ts";

const DTYPES = ["f32", "f16", "bf16"] as const;

/** Runs the body with a GPU whose pipelines are shared by its cases. */
async function withRunner(
  body: (runner: DispatchRunner) => Promise<void>,
  options?: Parameters<typeof DispatchRunner.open>[0],
): Promise<void> {
  const runner = await DispatchRunner.open(options);
  try {
    await body(runner);
  } finally {
    runner.close();
  }
}

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

async function checkLinear(runner: DispatchRunner, c: LinearCase): Promise<void> {
  const { got, expected } = await runOp(runner, {
    op: "fused_linear",
    attrs: c.norm ? { normEps: 1e-5 } : {},
    inputs: linearInputs(c),
    sizes: { T: c.T },
    context: { tokens: { min: 1, max: c.max ?? c.T } },
  });
  const worst = worstDifference(got[0], expected[0]);
  assert.ok(worst < 2e-6, `${JSON.stringify(c)}: off by ${worst}`);
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

webgpuTest("fusedLinear needs no subgroups", () =>
  withRunner(async (runner) => {
    assert.equal(runner.profile.subgroups, false);
    for (const c of CASES.slice(0, 8)) await checkLinear(runner, c);
  }, { without: ["subgroups"] }));
