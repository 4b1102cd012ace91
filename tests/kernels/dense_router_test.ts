import assert from "node:assert/strict";
import type { AttrsOf } from "../../graph/mod.ts";
import { moeRouter } from "../../kernels/dense/router.ts";
import type { LoweringContext } from "../../kernels/kernel.ts";
import { webgpuTest } from "../support/adapter.ts";
import { activation, buildNode, randomWeight, runOp, worstDifference } from "../support/op_case.ts";
import { TOLERANCES } from "../support/tolerances.ts";
import { type DispatchRunner, withRunner } from "../support/run_dispatches.ts";

interface RouterCase extends Partial<AttrsOf<"moe_router">> {
  readonly T: number;
  readonly E: number;
  readonly H: number;
  readonly dtype?: "f32" | "f16" | "bf16";
  readonly bias?: boolean;
  readonly context?: Partial<LoweringContext>;
}

/** Ids and weights must be the CPU's. Random scores are never so near that rounding decides. */
async function check(runner: DispatchRunner, c: RouterCase): Promise<number> {
  const sizes = { T: c.T };
  const attrs = {
    topK: c.topK ?? 2,
    scoring: c.scoring ?? "softmax",
    softmaxOver: c.softmaxOver ?? "all",
    renormalize: c.renormalize ?? false,
    scale: c.scale ?? 1,
    normEps: c.normEps,
  } as const;
  const { got, expected, dispatches } = await runOp(runner, {
    op: "moe_router",
    attrs,
    sizes,
    context: c.context,
    inputs: {
      x: activation(["T", c.H], sizes, 1, 3),
      w: randomWeight(c.dtype ?? "bf16", [c.E, c.H], 2, 0.3),
      bias: c.bias ? randomWeight("f32", [c.E], 3) : undefined,
      norm_weight: c.normEps === undefined ? undefined : randomWeight("f32", [c.H], 4),
    },
  });
  const what = JSON.stringify(c);
  assert.deepEqual([...got[0].data], [...expected[0].data], `${what}: ids`);
  for (const i of expected.keys()) {
    const worst = worstDifference(got[i], expected[i]);
    assert.ok(worst < TOLERANCES.kernelF32, `${what}: output ${i} off by ${worst}`);
  }
  return dispatches.length;
}

const CASES: readonly RouterCase[] = [
  { T: 1, E: 8, H: 64, topK: 2, normEps: 1e-6 },
  { T: 1, E: 64, H: 512, topK: 8, normEps: 1e-5, renormalize: true },
  { T: 1, E: 130, H: 264, topK: 16, softmaxOver: "selected", bias: true },
  { T: 7, E: 60, H: 520, topK: 4, normEps: 1e-5, context: { tokens: { min: 2, max: 8 } } },
  { T: 8, E: 257, H: 200, topK: 8, scoring: "sigmoid", renormalize: true, scale: 2.5 },
  { T: 2, E: 5, H: 37, topK: 5, normEps: 1e-5, dtype: "f32" },
  { T: 33, E: 64, H: 96, topK: 8, normEps: 1e-5, renormalize: true, dtype: "f16" },
  { T: 70, E: 31, H: 41, topK: 6, scoring: "sigmoid", bias: true, normEps: 1e-5 },
  { T: 9, E: 512, H: 64, topK: 10, softmaxOver: "selected" },
];

webgpuTest(
  "moeRouter chooses the experts that the CPU chooses, in one dispatch",
  () =>
    withRunner(async (runner) => {
      for (const c of CASES) assert.equal(await check(runner, c), 1);
    }),
);

webgpuTest(
  "moeRouter hands logits over between dispatches when asked to",
  () =>
    withRunner(async (runner) => {
      const context = { handOff: "dispatch", tokens: { min: 1, max: 8 } } as const;
      for (const c of CASES.slice(1, 5)) assert.equal(await check(runner, { ...c, context }), 2);
    }),
);

webgpuTest("moeRouter needs no subgroups", () =>
  withRunner(async (runner) => {
    for (const c of CASES.slice(0, 4)) await check(runner, c);
  }, { without: ["subgroups"] }));

webgpuTest(
  "moeRouter gives ties to the smaller id, in every run",
  () =>
    withRunner(async (runner) => {
      const sizes = { T: 3, R: 1, S: 1, P: 1 };
      for (const scoring of ["softmax", "sigmoid"] as const) {
        const attrs = {
          topK: 4,
          scoring,
          softmaxOver: "all",
          renormalize: true,
          scale: 1,
        } as const;
        const zero = { ...activation(["T", 512], sizes, 1), data: new Float32Array(3 * 512) };
        const { node, values } = buildNode({
          op: "moe_router",
          attrs,
          inputs: {
            x: zero,
            w: randomWeight("bf16", [64, 512], 2),
            // Two levels, far enough apart to saturate a sigmoid: ties within each.
            bias: {
              dtype: "f32",
              shape: [64],
              data: Float32Array.from({ length: 64 }, (_, i) => i % 7 === 3 ? 40 : 30),
              weight: true,
            },
          },
        });
        const dispatches = moeRouter.lower(node, {
          profile: runner.profile,
          tokens: { min: 1, max: 8 },
          maxRows: 8,
          pageSize: 16,
          cacheDtype: () => "f32",
          note() {},
        });
        runner.clear();
        for (const [value, data] of values) runner.write(value, data);
        const best = scoring === "sigmoid" ? [0, 1, 2, 3] : [3, 10, 17, 24];
        // Each run leaves its tickets as it found them.
        for (let i = 0; i < 5; i++) {
          runner.write(node.outputs[0], new Int32Array(12).fill(-1));
          await runner.run(dispatches, sizes);
          const ids = await runner.readI32(node.outputs[0], 12);
          assert.deepEqual([...ids], [...best, ...best, ...best]);
          const weights = await runner.readF32(node.outputs[1], 12);
          assert.ok(weights.every((weight) => Math.abs(weight - 0.25) < 1e-6));
        }
      }
    }),
);
