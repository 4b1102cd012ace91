/** Routers with groups, corrections, shared slots and the sparse mixer, against the CPU. */

import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import type { AttrsOf } from "../../../graph/mod.ts";
import type { LoweringContext } from "../../../kernels/kernel.ts";
import { webgpuTest } from "../../support/adapter.ts";
import {
  activation,
  type OpInput,
  randomWeight,
  runOp,
  worstDifference,
} from "../../support/op_case.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";
import { TOLERANCES } from "../../support/tolerances.ts";

interface Case extends Partial<AttrsOf<"moe_router">> {
  readonly T: number;
  /** Experts that are chosen among. */
  readonly E: number;
  readonly H: number;
  readonly bias?: boolean;
  /** Largest correction. */
  readonly correction?: number;
  readonly expertScale?: boolean;
  /** Largest number of x. */
  readonly magnitude?: number;
}

function inputsOf(c: Case): Record<string, OpInput | undefined> {
  const rows = c.E + (c.sharedGate ? 1 : 0);
  return {
    x: activation(["T", c.H], { T: c.T }, 1, c.magnitude ?? 3),
    w: randomWeight("bf16", [rows, c.H], 2, 0.3),
    bias: c.bias ? randomWeight("f32", [rows], 3) : undefined,
    norm_weight: c.normEps === undefined ? undefined : randomWeight("f32", [c.H], 4),
    correction: c.correction === undefined
      ? undefined
      : randomWeight("f32", [c.E], 5, c.correction),
    expert_scale: c.expertScale ? randomWeight("f32", [c.E], 6) : undefined,
  };
}

/** Ids and weights must be the CPU's. Random scores are never so near that rounding decides. */
async function check(
  runner: DispatchRunner,
  c: Case,
  context?: Partial<LoweringContext>,
): Promise<void> {
  const { got, expected } = await runOp(runner, {
    op: "moe_router",
    attrs: {
      ...{ topK: 2, scoring: "softmax", softmaxOver: "all", renormalize: false, scale: 1 },
      ...c,
    },
    sizes: { T: c.T },
    context,
    inputs: inputsOf(c),
  });
  const what = JSON.stringify(c);
  assert.deepEqual([...got[0].data], [...expected[0].data], `${what}: ids`);
  for (const i of expected.keys()) {
    assert.ok(got[i].data.every((each) => Number.isFinite(Number(each))), `${what}: output ${i}`);
    const worst = worstDifference(got[i], expected[i]);
    assert.ok(worst < TOLERANCES.kernelF32, `${what}: output ${i} off by ${worst}`);
  }
}

const SIGMOID = { scoring: "sigmoid", renormalize: true, sumOffset: 1e-20, scale: 2.5 } as const;

const CASES: Record<string, readonly Case[]> = {
  "corrections for the choice alone": [
    { T: 1, E: 7, H: 37, topK: 3, ...SIGMOID, correction: 0.5 },
    { T: 9, E: 33, H: 64, topK: 8, ...SIGMOID, correction: 5, normEps: 1e-5 },
  ],
  "groups by their best expert": [
    { T: 5, E: 12, H: 40, topK: 3, groups: { count: 4, kept: 2, by: "best" } },
    { T: 1, E: 9, H: 41, topK: 3, groups: { count: 3, kept: 1, by: "best" } },
    // As many groups as experts.
    { T: 3, E: 5, H: 16, topK: 2, groups: { count: 5, kept: 2, by: "best" } },
  ],
  "groups by their two best experts": [
    {
      ...{ T: 11, E: 64, H: 72, topK: 6, ...SIGMOID, correction: 1, normEps: 1e-5 },
      groups: { count: 8, kept: 3, by: "two_best" },
    },
    // Groups of one expert; and corrections that make every score negative or large.
    {
      ...{ T: 2, E: 6, H: 24, topK: 4, ...SIGMOID, correction: 40 },
      groups: { count: 6, kept: 4, by: "two_best" },
    },
  ],
  "shared slots": [
    { T: 1, E: 6, H: 40, topK: 2, shared: 1 },
    { T: 7, E: 31, H: 33, topK: 4, shared: 2, ...SIGMOID, correction: 1 },
    { T: 6, E: 10, H: 48, topK: 3, shared: 1, sharedGate: true, renormalize: true },
    {
      ...{ T: 3, E: 8, H: 56, topK: 4, shared: 3, sharedGate: true, normEps: 1e-6, bias: true },
      groups: { count: 2, kept: 1, by: "best" },
    },
  ],
  "the sparse mixer": [
    { T: 1, E: 16, H: 48, topK: 2, scoring: "sparse_mixer", jitter: 0.01 },
    { T: 13, E: 7, H: 25, topK: 2, scoring: "sparse_mixer", jitter: 0.3 },
    // Whatever is within twice the jitter counts: here everything does, and nearly nothing.
    { T: 4, E: 5, H: 16, topK: 2, scoring: "sparse_mixer", jitter: 100, normEps: 1e-5 },
    { T: 4, E: 5, H: 16, topK: 2, scoring: "sparse_mixer", jitter: 0 },
  ],
  "scales of experts and logits, bounds of the sum": [
    { T: 5, E: 12, H: 40, topK: 4, renormalize: true, expertScale: true, logitScale: 0.2 },
    { T: 5, E: 12, H: 40, topK: 4, renormalize: true, sumFloor: 0.7, logitScale: 0.1 },
    { T: 5, E: 12, H: 40, topK: 4, renormalize: true, normPower: 0.5 },
    { T: 2, E: 9, H: 30, topK: 9, scoring: "sigmoid", softmaxOver: "selected" },
    { T: 2, E: 9, H: 30, topK: 3, renormalize: true, normPower: 2, sumOffset: 0.5 },
  ],
  "scores at the far ends": [
    { T: 3, E: 12, H: 40, topK: 2, shared: 1, magnitude: 1e4 },
    // Sigmoids are all 0 or 1 here, so that corrections choose.
    { T: 3, E: 12, H: 40, topK: 4, ...SIGMOID, correction: 0.5, magnitude: 1e5 },
    { T: 3, E: 12, H: 40, topK: 2, scoring: "sparse_mixer", jitter: 0.01, magnitude: 1e5 },
  ],
};

for (const [name, cases] of Object.entries(CASES)) {
  webgpuTest(
    `moeRouter chooses and weighs as the CPU does: ${name}`,
    () =>
      withRunner(async (runner) => {
        for (const c of cases) await check(runner, c);
      }),
  );
}

webgpuTest(
  "moeRouter shares out experts of routers with groups and shared slots",
  () =>
    withRunner(async (runner) => {
      const c: Case = {
        ...{ T: 5, E: 70, H: 264, topK: 6, shared: 1, sharedGate: true, correction: 1 },
        ...{ ...SIGMOID, groups: { count: 7, kept: 3, by: "two_best" } },
      };
      const profile = { ...runner.profile, software: false };
      await check(runner, c, { profile, tokens: { min: 1, max: 8 } });
      await check(runner, c, { profile, tokens: { min: 1, max: 8 }, handOff: "dispatch" });
    }),
);

webgpuTest(
  "moeRouter needs no subgroups for groups and the mixer",
  () =>
    withRunner(async (runner) => {
      await check(runner, CASES["groups by their two best experts"][0]);
      await check(runner, CASES["the sparse mixer"][1]);
    }, { without: ["subgroups"] }),
);

/** Random routers with groups. */
const anyCase = fc.record({
  T: fc.integer({ min: 1, max: 20 }),
  H: fc.integer({ min: 1, max: 90 }),
  count: fc.integer({ min: 1, max: 6 }),
  size: fc.integer({ min: 2, max: 9 }),
  kept: fc.integer({ min: 1, max: 6 }),
  topK: fc.integer({ min: 1, max: 8 }),
  by: fc.constantFrom("best" as const, "two_best" as const),
  scoring: fc.constantFrom("softmax" as const, "sigmoid" as const),
  correction: fc.constantFrom(undefined, 0.5),
  shared: fc.nat(2),
  sharedGate: fc.boolean(),
  renormalize: fc.boolean(),
});

webgpuTest(
  "moeRouter chooses and weighs as the CPU does for random groups",
  () =>
    withRunner(async (runner) => {
      await fc.assert(
        fc.asyncProperty(anyCase, async ({ count, size, kept, by, topK, sharedGate, ...rest }) => {
          const groups = { count, kept: Math.min(kept, count), by };
          await check(runner, {
            ...rest,
            E: count * size,
            topK: Math.min(topK, groups.kept * size),
            groups,
            sharedGate: sharedGate && rest.shared > 0,
          });
        }),
        { numRuns: 6, seed: 7 },
      );
    }),
);
