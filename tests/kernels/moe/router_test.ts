import assert from "node:assert/strict";
import { type AttrsOf, Graph } from "../../../graph/mod.ts";
import { moeRouter, routerShape } from "../../../kernels/moe/router.ts";
import type { LoweringContext } from "../../../kernels/kernel.ts";
import { webgpuTest } from "../../support/adapter.ts";
import {
  activation,
  buildNode,
  type OpResult,
  randomWeight,
  runOp,
  worstDifference,
} from "../../support/op_case.ts";
import { GPU_PROFILE } from "../../support/gpu_profile.ts";
import { TOLERANCES } from "../../support/tolerances.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";

interface RouterCase extends Partial<AttrsOf<"moe_router">> {
  readonly T: number;
  readonly E: number;
  readonly H: number;
  readonly dtype?: "f32" | "f16" | "bf16";
  readonly bias?: boolean;
  readonly context?: Partial<LoweringContext>;
  /** Tokens of the largest step. */
  readonly tokens?: number;
}

/** Ids and weights must be the CPU's. Random scores are never so near that rounding decides. */
async function check(runner: DispatchRunner, c: RouterCase): Promise<number> {
  const { got, expected, dispatches } = await route(runner, c);
  const what = JSON.stringify(c);
  assert.deepEqual([...got[0].data], [...expected[0].data], `${what}: ids`);
  for (const i of expected.keys()) {
    const worst = worstDifference(got[i], expected[i]);
    assert.ok(worst < TOLERANCES.kernelF32, `${what}: output ${i} off by ${worst}`);
  }
  return dispatches.length;
}

function route(runner: DispatchRunner, c: RouterCase): Promise<OpResult> {
  const sizes = { T: c.T };
  const attrs = {
    topK: c.topK ?? 2,
    scoring: c.scoring ?? "softmax",
    softmaxOver: c.softmaxOver ?? "all",
    renormalize: c.renormalize ?? false,
    scale: c.scale ?? 1,
    normEps: c.normEps,
  } as const;
  return runOp(runner, {
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

/** The device as a GPU that wants more workgroups than a CPU does. */
function large({ profile }: DispatchRunner): Partial<LoweringContext> {
  return { profile: { ...profile, software: false } };
}

const MANY_TOKENS: readonly RouterCase[] = [
  { T: 9, E: 40, H: 520, topK: 6, normEps: 1e-5, tokens: 64 },
  { T: 33, E: 64, H: 1088, topK: 8, normEps: 1e-5, tokens: 128 },
  { T: 130, E: 70, H: 264, topK: 6, normEps: 1e-5, renormalize: true, tokens: 512 },
  { T: 41, E: 130, H: 131, topK: 4, normEps: 1e-5, scoring: "sigmoid", bias: true, tokens: 2048 },
];

webgpuTest(
  "moeRouter shares the experts out for many tokens too, with the same bits in every run",
  () =>
    withRunner(async (runner) => {
      for (const { tokens, ...c } of MANY_TOKENS) {
        const many = { ...large(runner), tokens: { min: 1, max: tokens ?? c.T } };
        assert.equal(await check(runner, { ...c, context: many }), 1);
        const context = { ...many, handOff: "dispatch" } as const;
        assert.equal(await check(runner, { ...c, context }), 2);
        const runs = [];
        for (let i = 0; i < 3; i++) runs.push((await route(runner, { ...c, context: many })).got);
        assert.deepEqual(runs[1], runs[0]);
        assert.deepEqual(runs[2], runs[0]);
      }
    }),
);

Deno.test("routerShape() fills a large GPU in few turns, whatever the number of tokens", () => {
  const payload = new Graph("router").addInput("w", { dtype: "bf16", shape: [64, 2048] });
  const problem = { experts: 64, weight: { format: "bf16", payload, columns: 2048 } } as const;
  for (const [max, turns] of [[1, 1], [8, 1], [32, 1], [128, 1], [512, 2], [2048, 8], [8192, 16]]) {
    const context = { profile: GPU_PROFILE, tokens: { min: 1, max } };
    const { share, rows, columns } = routerShape(problem, context);
    const workgroups = Math.ceil(max / columns) * Math.ceil(64 / share);
    assert.ok(workgroups >= (max <= 8 ? 64 : 256), `${max} tokens: ${workgroups} workgroups`);
    assert.equal(share / rows, turns, `${max} tokens`);
    assert.equal(columns, max <= 64 ? 1 : 8, `${max} tokens`);
  }
});

webgpuTest(
  "moeRouter hands logits over between dispatches when asked to",
  () =>
    withRunner(async (runner) => {
      const context = {
        ...large(runner),
        handOff: "dispatch",
        tokens: { min: 1, max: 8 },
      } as const;
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
