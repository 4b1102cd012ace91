/** Latent attention in the expanded form: which sequences take it, and that it gives what the other gives. */

import assert from "node:assert/strict";
import type { Dispatch, LoweringContext } from "../../../../kernels/kernel.ts";
import { mlaAttention } from "../../../../kernels/attention/mla/mla.ts";
import { webgpuTest } from "../../../support/adapter.ts";
import { GPU_PROFILE } from "../../../support/gpu_profile.ts";
import {
  checkLatent,
  latentAttrs,
  latentInputs,
  type LatentModel,
} from "../../../support/latent_cases.ts";
import { withMatrices } from "../../../support/matrix_configs.ts";
import { buildNode, type OpResult } from "../../../support/op_case.ts";
import { PAGES_PER_SEQUENCE, run, SEQUENCES, type Tokens } from "../../../support/paged_steps.ts";
import { type DispatchRunner, withRunner } from "../../../support/run_dispatches.ts";
import { TOLERANCES } from "../../../support/tolerances.ts";

/** Tokens of the longest sequence. */
const LONGEST = 16 * PAGES_PER_SEQUENCE;
const STEP_LIMITS = { maxSequences: SEQUENCES, maxSequenceTokens: LONGEST };

/** Binds so little that a stretch has 64 tokens: several of each context, borders within sequences. */
function shortStretches(given: LoweringContext["profile"], headBytes: number) {
  return { ...given, maxBindingBytes: 64 * headBytes };
}

const SMALL: LatentModel = {
  ...{ heads: 3, nopeDim: 16, ropeDim: 8, valueDim: 40, latentDim: 64, layout: "interleaved" },
  expandFrom: 9,
};

/** A prompt; one that goes on behind earlier tokens; sequences of several lengths and single tokens. */
const STEPS: readonly Tokens[] = [
  run(2, 0, 19),
  run(2, 19, 140),
  [...run(3, 60, 12), [0, 129], ...run(2, 159, 10), ...run(1, 0, 3)],
];

function kernelsOf({ dispatches }: Pick<OpResult, "dispatches">): string[] {
  return dispatches.map(({ kernel }) => kernel);
}

webgpuTest(
  "the expanded form gives what the CPU gives, stretch by stretch",
  () =>
    withRunner(async (runner) => {
      const profile = {
        ...shortStretches(runner.profile, 4 * SMALL.heads * SMALL.valueDim),
        software: true,
      };
      for (const dtype of ["f32", "f16", "f8_e4m3"] as const) {
        await checkLatent(runner, { ...SMALL, dtype }, {
          steps: STEPS,
          context: { ...STEP_LIMITS, cacheDtype: () => dtype, profile },
          inspect: (result) => {
            const tiles = kernelsOf(result).filter((name) => name === "attention_prefill");
            assert.equal(tiles.length, 4, kernelsOf(result).join());
          },
        });
      }
    }),
);

webgpuTest(
  "the expanded form takes queries of latents, and values that lie side by side",
  () =>
    withRunner(async (runner) => {
      const model: LatentModel = { ...SMALL, valueDim: 8, rank: 24, joined: 8, weight: "f16" };
      await checkLatent(runner, model, { steps: STEPS, context: STEP_LIMITS });
    }),
);

webgpuTest("the expanded form is right as on a GPU, without subgroups too", async () => {
  const check = (runner: DispatchRunner) => {
    const profile = shortStretches(runner.profile, 4 * SMALL.heads * SMALL.valueDim);
    const context = { ...STEP_LIMITS, profile: { ...profile, software: false } };
    return checkLatent(runner, SMALL, { steps: STEPS, context });
  };
  await withRunner(check);
  await withRunner(check, { without: ["subgroups"] });
});

webgpuTest(
  "sequences whose contexts find no place keep the absorbed form",
  () =>
    withRunner(async (runner) => {
      const profile = shortStretches(runner.profile, 4 * SMALL.heads * SMALL.valueDim);
      // Four sequences of 190 tokens of context each, and room for 256.
      const crowd = [0, 1, 2, 3].flatMap((sequence) => run(sequence, 176, 14));
      await checkLatent(runner, SMALL, {
        steps: [crowd],
        context: { ...STEP_LIMITS, profile: { ...profile, software: true } },
      });
    }),
);

webgpuTest("the expanded form by matrices agrees with the CPU", () =>
  withRunner(async (runner) => {
    const model: LatentModel = {
      // Keys as wide as GLM-4.7-Flash's, and values of another width; two teams have the same queries.
      ...{ heads: 2, nopeDim: 192, ropeDim: 64, valueDim: 192, latentDim: 96, dtype: "f16" },
      expandFrom: 9,
    };
    const profile = withMatrices(
      shortStretches(runner.profile, 2 * 2 * 256),
      { m: 16, n: 16, k: 32 },
      true,
    );
    await checkLatent(runner, model, {
      steps: [STEPS[1], STEPS[2]],
      context: {
        ...{ ...STEP_LIMITS, cacheDtype: () => "f16", operands: "auto" },
        profile: { ...profile, software: true },
      },
      tolerance: TOLERANCES.moeF16Operands,
      inspect: (result) => {
        assert.ok(kernelsOf(result).includes("attention_prefill_matrices"));
        assert.ok(kernelsOf(result).includes("mla_expand_matrices"));
      },
    });
  }));

webgpuTest(
  "the expanded form gives the same bits in every run",
  () =>
    withRunner(async (runner) => {
      const runs: OpResult[] = [];
      const profile = shortStretches(runner.profile, 4 * SMALL.heads * SMALL.valueDim);
      for (let i = 0; i < 2; i++) {
        await checkLatent(runner, SMALL, {
          steps: [STEPS[2]],
          context: { ...STEP_LIMITS, profile: { ...profile, software: true } },
          inspect: (result) => runs.push(result),
        });
      }
      assert.deepEqual(runs[0].got, runs[1].got);
    }),
);

/** DeepSeek-V2-Lite's layer on an H100. */
const LITE: LatentModel = {
  ...{ heads: 16, nopeDim: 128, ropeDim: 64, valueDim: 128, latentDim: 512, dtype: "f16" },
};

function lower(model: LatentModel, context: Partial<LoweringContext>) {
  const notes: string[] = [];
  const inputs = latentInputs({ ...model }, run(0, 0, 1));
  const { node } = buildNode({ op: "cached_mla_attention", attrs: latentAttrs(model), inputs });
  const dispatches = mlaAttention.lower(node, {
    ...{ profile: GPU_PROFILE, tokens: { min: 513, max: 2048 }, maxRows: 1, pageSize: 16 },
    ...{ cacheDtype: () => "f16", maxSequences: 8, maxSequenceTokens: 8192 },
    note: (text) => notes.push(text),
    ...context,
  });
  return { dispatches, notes };
}

/** Kernels that have work in a step. */
function working(dispatches: readonly Dispatch[], T: number, S: number, P: number): string[] {
  return dispatches.filter(({ workgroups }) => workgroups({ T, R: 1, S, P }).every((n) => n > 0))
    .map(({ kernel }) => kernel);
}

Deno.test("a step of one prompt runs no dispatch of the absorbed form, and only stretches that it has", () => {
  const { dispatches, notes } = lower(LITE, {});
  assert.deepEqual(working(dispatches, 2048, 1, 128), [
    ...["mla_plan", "mla_prepare", "mla_gather", "mla_expand_gemm", "attention_prefill"],
  ]);
  const long = working(dispatches, 2048, 1, 512).filter((kernel) => kernel === "mla_gather");
  assert.equal(long.length, 3);
  for (const kernel of ["mla_gather", "mla_expand_gemm", "attention_prefill"]) {
    const texts = dispatches.filter((each) => each.kernel === kernel).map(({ wgsl }) => wgsl);
    assert.deepEqual([texts.length, new Set(texts).size], [4, 1], kernel);
  }
  // The host does not know how many tokens each of several sequences has.
  assert.ok(working(dispatches, 2048, 2, 512).includes("mla_attend"));
  assert.match(
    notes.join("\n"),
    /with 512 tokens or more in a step: keys and values of 3008 tokens at a time in f32, 64/,
  );
});

Deno.test("expand_from says from which tokens on, and for whom the expanded form is not", () => {
  const small = { ...LITE, nopeDim: 32, ropeDim: 16, valueDim: 32, latentDim: 128 };
  const expands = (model: Partial<LatentModel>, context: Partial<LoweringContext> = {}) =>
    lower({ ...small, ...model }, context).dispatches.some(({ kernel }) => kernel === "mla_plan");
  assert.ok(expands({}));
  assert.ok(!expands({ expandFrom: "never" }));
  assert.ok(!expands({ expandFrom: 4000 }));
  assert.ok(!expands({}, { tokens: { min: 1, max: 8 } }));
  assert.ok(expands({ expandFrom: 4 }, { tokens: { min: 1, max: 8 } }));
  assert.ok(!expands({ expandFrom: 4 }, { tokens: { min: 1, max: 8, single: true } }));
  // Latents no wider than what is made of them: nothing is saved.
  assert.ok(!expands({ latentDim: 32 }));
  // Too few tiles of queries for a GPU.
  assert.ok(!expands({}, { tokens: { min: 129, max: 500 } }));
  assert.ok(expands({ heads: 32 }, { tokens: { min: 129, max: 500 } }));
  // With matrices a tile of queries is enough.
  const profile = withMatrices(GPU_PROFILE, { m: 16, n: 16, k: 16 });
  const halves = { profile, operands: "auto", tokens: { min: 33, max: 64 } } as const;
  const fitting = { nopeDim: 64, ropeDim: 64, valueDim: 64 };
  assert.ok(expands(fitting, halves));
  assert.ok(!expands(fitting, { ...halves, tokens: { min: 33, max: 63 } }));
  assert.ok(!expands(fitting, { ...halves, cacheDtype: () => "f32" }));
  const { notes } = lower({ ...small, nopeDim: 20, expandFrom: 4 }, {});
  assert.ok(notes.some((note) => /prompts keep the absorbed form.*not 20/.test(note)));
});
