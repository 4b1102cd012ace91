import assert from "node:assert/strict";
import { webgpuTest } from "../../support/adapter.ts";
import {
  type OpInput,
  randomF32,
  randomWeight,
  runOp,
  worstDifference,
} from "../../support/op_case.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";
import { TOLERANCES } from "../../support/tolerances.ts";

interface Case {
  readonly op: "layer_norm" | "l2_norm";
  /** Behind the tokens; the last is the one that is normed. */
  readonly rest: readonly number[];
  readonly T: number;
  readonly eps?: number;
  readonly bias?: boolean;
  readonly scale?: number;
}

function rowsOf({ T, rest, scale = 2 }: Case): OpInput {
  const count = rest.reduce((a, b) => a * b, T);
  return { dtype: "f32", shape: ["T", ...rest], data: randomF32(count, 1, scale) };
}

async function check(runner: DispatchRunner, c: Case): Promise<void> {
  const size = c.rest[c.rest.length - 1];
  const layer = c.op === "layer_norm";
  const { got, expected } = await runOp(runner, {
    op: c.op,
    attrs: { eps: c.eps ?? 1e-5 },
    sizes: { T: c.T },
    inputs: {
      x: rowsOf(c),
      w: layer ? randomWeight("f32", [size], 2) : undefined,
      bias: layer && c.bias ? randomWeight("f32", [size], 3) : undefined,
    },
  });
  const worst = worstDifference(got[0], expected[0]);
  assert.ok(worst < TOLERANCES.kernelF32, `${JSON.stringify(c)}: off by ${worst}`);
}

const SIZES: readonly Omit<Case, "op">[] = [
  { T: 1, rest: [1] },
  { T: 1, rest: [37], bias: true },
  { T: 7, rest: [129], bias: true },
  { T: 3, rest: [5, 22] },
  { T: 2, rest: [1030], bias: true, eps: 1e-12 },
  // Rows of zeros, where the epsilon alone stands below the root.
  { T: 2, rest: [19], scale: 0, bias: true },
  { T: 2, rest: [64], scale: 1e-12 },
  { T: 2, rest: [64], scale: 1e15 },
];

for (const op of ["layer_norm", "l2_norm"] as const) {
  webgpuTest(`${op} gives what the CPU gives`, () =>
    withRunner(async (runner) => {
      for (const c of SIZES) await check(runner, { op, ...c });
    }));

  webgpuTest(`${op} needs no subgroups`, () =>
    withRunner(async (runner) => {
      for (const c of SIZES.slice(1, 4)) await check(runner, { op, ...c });
    }, { without: ["subgroups"] }));
}

webgpuTest(
  "layer_norm takes the mean away before it squares",
  () =>
    withRunner(async (runner) => {
      // Eighths at 4096: differences that f32 holds, of squares that it does not.
      const T = 3;
      const data = Float32Array.from({ length: T * 33 }, (_, i) => 4096 + ((i * 7) % 16) / 8);
      const { got, expected } = await runOp(runner, {
        op: "layer_norm",
        attrs: { eps: 1e-5 },
        sizes: { T },
        inputs: {
          x: { dtype: "f32", shape: ["T", 33], data },
          w: randomWeight("f32", [33], 2),
        },
      });
      const worst = worstDifference(got[0], expected[0]);
      // The mean itself is rounded to f32: by 2^-12 of a deviation of about one.
      assert.ok(worst < 5e-4, `off by ${worst}`);
    }),
);

webgpuTest(
  "layer_norm folds more rows than a dimension of the grid has",
  () =>
    withRunner(async (runner) => {
      const profile = { ...runner.profile, maxWorkgroupsPerDimension: 4 };
      const { got, expected } = await runOp(runner, {
        op: "layer_norm",
        attrs: { eps: 1e-5 },
        sizes: { T: 11 },
        context: { profile },
        inputs: {
          x: rowsOf({ op: "layer_norm", T: 11, rest: [9] }),
          w: randomWeight("f32", [9], 2),
        },
      });
      assert.ok(worstDifference(got[0], expected[0]) < TOLERANCES.kernelF32);
    }),
);
