import assert from "node:assert/strict";
import fc from "../../../../deps/fast_check.ts";
import type { AttrsOf } from "../../../../graph/mod.ts";
import { mlaAttention } from "../../../../kernels/attention/mla/mla.ts";
import { webgpuTest } from "../../../support/adapter.ts";
import {
  activation,
  buildNode,
  type OpInput,
  randomWeight,
  runOp,
  worstDifference,
} from "../../../support/op_case.ts";
import {
  cachedNumbers,
  type CacheDtype,
  checkCache,
  inverseFrequencies,
  placeInputs,
  run,
  stepSizes,
  type Tokens,
} from "../../../support/paged_steps.ts";
import { type DispatchRunner, withRunner } from "../../../support/run_dispatches.ts";
import { TOLERANCES } from "../../../support/tolerances.ts";

type Attrs = AttrsOf<"cached_mla_attention">;

interface Model extends Pick<Attrs, "heads" | "nopeDim" | "ropeDim" | "valueDim" | "latentDim"> {
  readonly layout?: "half" | "interleaved";
  readonly scale?: number;
  readonly weight?: "f32" | "f16" | "bf16";
  readonly dtype?: CacheDtype;
  /** Largest number of queries and latents. */
  readonly magnitude?: number;
  /** Numbers of the latents that queries are made of; absent: queries are given. */
  readonly rank?: number;
  /** Columns in front of queries, of the same value as keys' latents, which lie behind them. */
  readonly joined?: number;
}

/** Columns of `q`, and of what queries and latents are joined in. */
function widths({ heads, nopeDim, ropeDim, latentDim, rank, joined = 0 }: Model) {
  const own = rank ?? heads * (nopeDim + ropeDim);
  return { own, all: joined + own + latentDim + ropeDim };
}

function attrsOf(model: Model): Attrs {
  const { heads, nopeDim, ropeDim, valueDim, latentDim, layout = "half" } = model;
  return {
    ...{ heads, nopeDim, ropeDim, valueDim, latentDim, cache: "layer", eps: 1e-6 },
    scale: model.scale ?? (nopeDim + ropeDim) ** -0.5,
    rope: { layout, rotaryDim: ropeDim, attentionScaling: 1.1 },
    ...(model.rank !== undefined && { qEps: 1e-5 }),
    ...(model.joined !== undefined && {
      qFirst: model.joined,
      kvFirst: model.joined + widths(model).own,
    }),
  };
}

function inputsOf(model: Model, tokens: Tokens): Record<string, OpInput> {
  const { heads, nopeDim, ropeDim, valueDim, latentDim, magnitude = 2, rank, joined } = model;
  const sizes = { T: tokens.length };
  const { own, all } = widths(model);
  const both = activation(["T", all], sizes, 35, magnitude);
  const queries = heads * (nopeDim + ropeDim);
  return {
    q: joined === undefined ? activation(["T", own], sizes, 31, magnitude) : both,
    kv: joined === undefined ? activation(["T", latentDim + ropeDim], sizes, 32, magnitude) : both,
    ...(rank !== undefined && {
      q_norm: randomWeight("f32", [rank], 36),
      q_w: randomWeight(model.weight ?? "bf16", [queries, rank], 37, 0.5),
    }),
    kv_norm: randomWeight("f32", [latentDim], 33),
    w: randomWeight(model.weight ?? "bf16", [heads * (nopeDim + valueDim), latentDim], 34, 0.3),
    ...placeInputs(tokens),
    inv_freq: inverseFrequencies(ropeDim),
  };
}

/** Runs steps one after the other; results and the cache of latents must be the CPU's. */
async function check(
  runner: DispatchRunner,
  model: Model,
  { steps, software = true, handOff }: {
    steps: readonly Tokens[];
    software?: boolean;
    handOff?: "dispatch";
  },
): Promise<void> {
  const { latentDim, ropeDim, dtype = "f32" } = model;
  const cache = {
    keys: cachedNumbers(dtype, [1, 16, latentDim + ropeDim], 11),
    values: cachedNumbers(dtype, [1, 16, 0], 12),
  };
  for (const [i, tokens] of steps.entries()) {
    const { got, expected } = await runOp(runner, {
      op: "cached_mla_attention",
      attrs: attrsOf(model),
      inputs: inputsOf(model, tokens),
      sizes: stepSizes(tokens),
      caches: { layer: cache },
      context: {
        cacheDtype: () => dtype,
        profile: { ...runner.profile, software },
        ...(handOff && { handOff }),
      },
      kernel: mlaAttention,
    });
    const what = `${JSON.stringify(model)}, step ${i} of ${tokens.length} tokens`;
    assert.ok(got[0].data.every((each) => Number.isFinite(Number(each))), what);
    const worst = worstDifference(got[0], expected[0]);
    const tolerance = TOLERANCES[dtype === "f16" ? "kernelF16Cache" : "kernelF32"];
    assert.ok(worst < tolerance, `${what}: off by ${worst}`);
    await checkCache(runner, cache, ["keys"], what);
  }
}

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
    ...{ heads: 4, nopeDim: 20, ropeDim: 8, valueDim: 9, latentDim: 40, rank: 48, joined: 0 },
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
      await check(runner, model, { steps: [[[1, 4]]], software: false, handOff: "dispatch" });
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
      const inputs = inputsOf(model, run(0, 0, 1));
      const { node } = buildNode({ op: "cached_mla_attention", attrs: attrsOf(model), inputs });
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
