import assert from "node:assert/strict";
import fc from "../../../../deps/fast_check.ts";
import { mlaAttention } from "../../../../kernels/attention/mla/mla.ts";
import { webgpuTest } from "../../../support/adapter.ts";
import {
  checkLatent as check,
  latentAttrs,
  latentInputs,
  type LatentModel as Model,
} from "../../../support/latent_cases.ts";
import { buildNode } from "../../../support/op_case.ts";
import { run, type Tokens } from "../../../support/paged_steps.ts";
import { withRunner } from "../../../support/run_dispatches.ts";

/** One token at the beginning and far behind it; a prompt; sequences of different lengths. */
const STEPS: readonly Tokens[] = [
  [[1, 0]],
  [[1, 191]],
  run(2, 0, 19),
  [...run(2, 19, 3), [0, 129], ...run(3, 60, 5), [1, 1]],
];

const MODELS: Record<string, Model> = {
  "sizes that nothing divides": { heads: 3, nopeDim: 5, ropeDim: 6, valueDim: 7, latentDim: 26 },
  "units of four heads, values larger than keys": {
    ...{ heads: 8, nopeDim: 3, ropeDim: 8, valueDim: 37, latentDim: 40, layout: "interleaved" },
    weight: "f32",
  },
  "latents of more words than half a workgroup, in f16": {
    ...{ heads: 2, nopeDim: 12, ropeDim: 16, valueDim: 9, latentDim: 576, weight: "f16" },
    dtype: "f16",
  },
  "one head, a latent of one word": {
    ...{ heads: 1, nopeDim: 1, ropeDim: 2, valueDim: 1, latentDim: 6, scale: 1 },
  },
  "scores far beyond what exp takes": {
    ...{ heads: 2, nopeDim: 6, ropeDim: 8, valueDim: 4, latentDim: 16, magnitude: 1e4 },
  },
};

/** Queries that are made of latents, and values that lie side by side. */
const MADE: Record<string, Model> = {
  "queries of latents of an odd size": {
    ...{ heads: 3, nopeDim: 5, ropeDim: 6, valueDim: 7, latentDim: 26, rank: 13 },
  },
  "queries of latents, side by side with those of keys": {
    ...{ heads: 4, nopeDim: 20, ropeDim: 8, valueDim: 9, latentDim: 24, rank: 48, joined: 0 },
    ...{ layout: "interleaved", weight: "f16", dtype: "f16" },
  },
  "queries side by side with latents, behind something else": {
    ...{ heads: 2, nopeDim: 9, ropeDim: 2, valueDim: 5, latentDim: 14, joined: 3 },
  },
  "queries of latents behind something else": {
    ...{ heads: 2, nopeDim: 9, ropeDim: 2, valueDim: 5, latentDim: 14, rank: 24, joined: 8 },
  },
};

for (const [name, model] of Object.entries(MADE)) {
  webgpuTest(`mlaAttention gives what the CPU gives: ${name}`, () =>
    withRunner(async (runner) => {
      await check(runner, model, { steps: STEPS });
      // Shared out as on a GPU, with the last workgroup of a head to arrive and without it.
      await check(runner, model, { steps: [[[1, 3]], run(2, 30, 2)], software: false });
      await check(runner, model, {
        ...{ steps: [[[1, 4]]], software: false, context: { handOff: "dispatch" } },
      });
    }));
}

webgpuTest(
  "mlaAttention makes queries of latents without subgroups",
  () =>
    withRunner(async (runner) => {
      const model = MADE["queries of latents, side by side with those of keys"];
      await check(runner, model, { steps: [[[1, 3]], run(2, 30, 2)], software: false });
    }, { without: ["subgroups"] }),
);

for (const [name, model] of Object.entries(MODELS)) {
  webgpuTest(
    `mlaAttention gives what the CPU gives: ${name}`,
    () => withRunner((runner) => check(runner, model, { steps: STEPS })),
  );
}

webgpuTest(
  "mlaAttention shares the context out as on a GPU",
  () =>
    withRunner(async (runner) => {
      const model = MODELS["sizes that nothing divides"];
      // Contexts shorter than the number of shares, of one tile, and of many.
      const steps = [[[1, 0]], [[1, 3]], [[0, 127]], [[2, 191]], run(3, 100, 3)] as const;
      await check(runner, model, { steps, software: false });
    }),
);

webgpuTest(
  "mlaAttention is right at DeepSeek's sizes, as on a GPU",
  () =>
    withRunner(async (runner) => {
      const model: Model = {
        ...{ heads: 4, nopeDim: 128, ropeDim: 64, valueDim: 128, latentDim: 512, dtype: "f16" },
        layout: "interleaved",
      };
      await check(runner, model, { steps: [[[1, 190]]], software: false });
    }),
);

webgpuTest("mlaAttention needs no subgroups", () =>
  withRunner(async (runner) => {
    await check(runner, MODELS["sizes that nothing divides"], { steps: STEPS });
  }, { without: ["subgroups"] }));

webgpuTest("mlaAttention says which latents it does not take", () =>
  withRunner(({ profile }) => {
    const refuse = (latentDim: number, ropeDim: number) => {
      const model = { heads: 1, nopeDim: 4, ropeDim, valueDim: 4, latentDim };
      const inputs = latentInputs(model, run(0, 0, 1));
      const { node } = buildNode({ op: "cached_mla_attention", attrs: latentAttrs(model), inputs });
      return mlaAttention.refuse(node, {
        profile,
        tokens: { min: 1, max: 1 },
        maxRows: 1,
        pageSize: 16,
        cacheDtype: () => "f32",
        note() {},
      });
    };
    assert.equal(refuse(16, 8), undefined);
    const together = "takes latents and turning keys of a multiple of 8 together, not 16 + 6";
    assert.equal(refuse(16, 6), together);
    assert.equal(refuse(1032, 8), "takes latents of up to 1024");
    return Promise.resolve();
  }));

/** Random models and steps; the latent and what turns make a multiple of eight. */
const anyCase = fc.record({
  heads: fc.integer({ min: 1, max: 6 }),
  nopeDim: fc.integer({ min: 1, max: 40 }),
  turning: fc.integer({ min: 1, max: 9 }),
  valueDim: fc.integer({ min: 1, max: 70 }),
  words: fc.integer({ min: 3, max: 20 }),
  layout: fc.constantFrom("half" as const, "interleaved" as const),
  first: fc.nat(150),
  count: fc.integer({ min: 1, max: 9 }),
});

webgpuTest(
  "mlaAttention gives what the CPU gives for random models and steps",
  () =>
    withRunner(async (runner) => {
      await fc.assert(
        fc.asyncProperty(anyCase, async ({ turning, words, first, count, ...rest }) => {
          const ropeDim = 2 * turning;
          const model: Model = { ...rest, ropeDim, latentDim: 8 * words - ropeDim };
          await check(runner, model, { steps: [[...run(3, first, count), [0, 5]]] });
        }),
        { numRuns: 4, seed: 7 },
      );
    }),
);
