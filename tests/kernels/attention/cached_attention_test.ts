import assert from "node:assert/strict";
import fc from "../../../deps/fast_check.ts";
import type { AttrsOf, CacheDtype } from "../../../graph/mod.ts";
import type { CpuCache } from "../../../kernels/cpu/kernel.ts";
import type { LoweringContext } from "../../../kernels/kernel.ts";
import { webgpuTest } from "../../support/adapter.ts";
import {
  activation,
  type OpInput,
  randomWeight,
  runOp,
  worstDifference,
} from "../../support/op_case.ts";
import {
  cachedNumbers,
  checkCache,
  inverseFrequencies,
  PAGES_PER_SEQUENCE,
  placeInputs,
  run,
  SEQUENCES,
  stepSizes,
  type Tokens,
} from "../../support/paged_steps.ts";
import { TOLERANCES } from "../../support/tolerances.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";

interface Model {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rope?: AttrsOf<"cached_attention">["rope"];
  readonly qkNorm?: "head" | "all";
  readonly clip?: number;
  readonly valueNorm?: boolean;
  /** Values are k as projected; not with `split`. */
  readonly keysAreValues?: boolean;
  readonly window?: number;
  readonly sinks?: boolean;
  readonly split?: boolean;
  readonly dtype?: CacheDtype;
  readonly pageSize?: number;
  /** Largest number of q, k and v; 2 where nothing is said. */
  readonly magnitude?: number;
}

/** A cache of random numbers, as if other steps had filled it. */
function randomCache({ kvHeads, headDim, dtype = "f32", pageSize = 16 }: Model): CpuCache {
  const part = (seed: number) => cachedNumbers(dtype, [kvHeads, pageSize, headDim], seed);
  return { keys: part(11), values: part(12) };
}

function attrsOf(model: Model): AttrsOf<"cached_attention"> {
  return {
    heads: model.heads,
    kvHeads: model.kvHeads,
    headDim: model.headDim,
    cache: "layer",
    scale: 1 / Math.sqrt(model.headDim),
    window: model.window,
    rope: model.rope,
    qkNorm: model.qkNorm && { eps: 1e-6, over: model.qkNorm },
    clip: model.clip,
    valueNorm: model.valueNorm ? { eps: 1e-5 } : undefined,
    keysAreValues: model.keysAreValues,
  };
}

function inputsOf(model: Model, tokens: Tokens, seed: number): Record<string, OpInput | undefined> {
  const { heads, kvHeads, headDim, rope } = model;
  const sizes = { T: tokens.length };
  const norm = (count: number, own: number) =>
    model.qkNorm && randomWeight("f32", [model.qkNorm === "head" ? headDim : count], own);
  const width = (count: number) =>
    activation(["T", count * headDim], sizes, seed + count, model.magnitude ?? 2);
  return {
    ...(model.split
      ? { q: width(heads), k: width(kvHeads), v: width(kvHeads) }
      : { qkv: width(heads + (model.keysAreValues ? 1 : 2) * kvHeads) }),
    ...placeInputs(tokens),
    inv_freq: rope && inverseFrequencies(rope.rotaryDim),
    q_norm: norm(heads * headDim, 21),
    k_norm: norm(kvHeads * headDim, 22),
    sinks: model.sinks ? randomWeight("f32", [heads], 23, 3) : undefined,
  };
}

interface Check {
  readonly model: Model;
  readonly steps: readonly Tokens[];
  readonly context?: Partial<LoweringContext>;
}

/** Runs steps one after the other; results and caches must be the CPU's. */
async function check(runner: DispatchRunner, { model, steps, context }: Check): Promise<void> {
  const cache = randomCache(model);
  for (const [i, tokens] of steps.entries()) {
    const { got, expected } = await runOp(runner, {
      op: "cached_attention",
      attrs: attrsOf(model),
      inputs: inputsOf(model, tokens, 31 + i),
      sizes: stepSizes(tokens),
      caches: { layer: cache },
      context: {
        cacheDtype: () => model.dtype ?? "f32",
        pageSize: model.pageSize ?? 16,
        ...context,
      },
    });
    const what = `${JSON.stringify(model)}, step ${i} of ${tokens.length} tokens`;
    const worst = worstDifference(got[0], expected[0]);
    const tolerance = TOLERANCES[model.dtype === "f16" ? "kernelF16Cache" : "kernelF32"];
    assert.ok(worst < tolerance, `${what}: off by ${worst}`);
    await checkCache(runner, cache, ["keys", "values"], what);
  }
}

const HALF = { layout: "half", rotaryDim: 32, attentionScaling: 1 } as const;
const MODELS: readonly Model[] = [
  { heads: 2, kvHeads: 2, headDim: 32, rope: HALF, qkNorm: "all", clip: 1.5 },
  {
    heads: 8,
    kvHeads: 2,
    headDim: 64,
    rope: { ...HALF, rotaryDim: 64 },
    qkNorm: "head",
    dtype: "f16",
  },
  { heads: 6, kvHeads: 2, headDim: 32, rope: HALF, window: 8, sinks: true },
  {
    heads: 4,
    kvHeads: 1,
    headDim: 40,
    rope: { layout: "interleaved", rotaryDim: 16, attentionScaling: 1.3 },
    split: true,
    pageSize: 32,
  },
  // Gemma 4's sliding layers, and its full ones.
  {
    ...{ heads: 4, kvHeads: 2, headDim: 24, rope: { ...HALF, rotaryDim: 24 }, qkNorm: "head" },
    ...{ valueNorm: true, window: 20 },
  },
  {
    ...{ heads: 6, kvHeads: 1, headDim: 40, rope: { ...HALF, rotaryDim: 40 }, qkNorm: "head" },
    ...{ valueNorm: true, keysAreValues: true, clip: 1.2 },
  },
];

webgpuTest(
  "cachedAttention appends and attends for one token in one dispatch",
  () =>
    withRunner(async (runner) => {
      const steps = [[[1, 0]], [[1, 1]], [[2, 70]], [[0, 129]], [[3, 181]]] as const;
      for (const model of MODELS) await check(runner, { model, steps });
    }),
);

webgpuTest(
  "cachedAttention takes several tokens of one sequence and of many in one dispatch",
  () =>
    withRunner(async (runner) => {
      const steps = [
        run(0, 0, 7),
        [...run(0, 7, 1), ...run(1, 40, 1), ...run(2, 3, 1)],
        [...run(3, 90, 3), ...run(0, 8, 4), [1, 41] as const],
      ];
      const context = { tokens: { min: 2, max: 8 } };
      for (const model of MODELS) await check(runner, { model, steps, context });
    }),
);

webgpuTest(
  "cachedAttention takes any number of sequences with a token each in one dispatch",
  () =>
    withRunner(async (runner) => {
      const tokens = { min: 9, max: 64, single: true };
      const gpu = { ...runner.profile, software: false };
      const steps = [
        [[3, 0], [0, 129], [2, 64], [1, 190]],
        [[0, 130], [3, 1]],
      ] as const;
      for (const profile of [runner.profile, gpu]) {
        for (const model of MODELS) {
          await check(runner, { model, steps, context: { tokens, profile } });
        }
      }
    }),
);

webgpuTest(
  "cachedAttention attends in tiles when tokens are many",
  () =>
    withRunner(async (runner) => {
      const steps = [
        run(2, 0, 70),
        run(2, 70, 9),
        [...run(1, 20, 33), [0, 100] as const, ...run(3, 0, 40), [2, 79] as const],
      ];
      const context = { tokens: { min: 9, max: 128 } };
      for (const model of MODELS) await check(runner, { model, steps, context });
    }),
);

/** Sizes of models people run, and the ends of what the kernel takes. */
const SHAPES: readonly Model[] = [
  { heads: 2, kvHeads: 2, headDim: 128, rope: { ...HALF, rotaryDim: 128 }, dtype: "f16" },
  { heads: 16, kvHeads: 1, headDim: 80, rope: HALF, sinks: true },
  { heads: 5, kvHeads: 1, headDim: 96, qkNorm: "head", rope: HALF, window: 100 },
  { heads: 2, kvHeads: 1, headDim: 256, rope: { ...HALF, rotaryDim: 64 }, dtype: "f16" },
  { heads: 2, kvHeads: 1, headDim: 512, valueNorm: true, keysAreValues: true, dtype: "f16" },
  { heads: 2, kvHeads: 2, headDim: 328, rope: { ...HALF, rotaryDim: 328 }, split: true },
  { heads: 3, kvHeads: 3, headDim: 8 },
  // More than f32 and u32 hold, which bounds nothing.
  { heads: 3, kvHeads: 3, headDim: 8, clip: 1e39, window: 5e9 },
];

webgpuTest(
  "cachedAttention takes heads of 8 to 512 and groups of any size",
  () =>
    withRunner(async (runner) => {
      const few = [...run(2, 100, 4), [0, 191]] as const;
      for (const [i, model] of SHAPES.entries()) {
        // One token, or a few, in turns: both are made by one text. The smallest heads have both.
        if (i % 2 === 0 || model.headDim === 8) await check(runner, { model, steps: [[[1, 150]]] });
        if (i % 2 === 1 || model.headDim === 8) {
          await check(runner, { model, steps: [few], context: { tokens: { min: 2, max: 8 } } });
        }
        await check(runner, { model, steps: [[...run(3, 110, 17), [1, 151]]] });
      }
    }),
);

webgpuTest(
  "cachedAttention hands over between dispatches when asked to",
  () =>
    withRunner(async (runner) => {
      const context = { handOff: "dispatch", tokens: { min: 1, max: 8 } } as const;
      const steps = [[[1, 190]], [...run(2, 130, 3), [0, 7]]] as const;
      for (const model of MODELS) await check(runner, { model, steps, context });
    }),
);

/** Without norm and RoPE, both sides round the same numbers, so that codes are equal to the bit. */
webgpuTest(
  "cachedAttention keeps E4M3 codes, rounded to even and saturated",
  () =>
    withRunner(async (runner) => {
      const models: readonly Model[] = [
        { heads: 8, kvHeads: 2, headDim: 64, sinks: true, dtype: "f8_e4m3" },
        {
          heads: 4,
          kvHeads: 4,
          headDim: 24,
          window: 20,
          split: true,
          dtype: "f8_e4m3",
          magnitude: 600,
        },
      ];
      const steps = [
        [[1, 0]],
        [...run(2, 60, 4), [1, 1]],
        [...run(3, 20, 30), [2, 64]],
        [[3, 50]],
      ] as const;
      const context = { profile: { ...runner.profile, software: false } };
      for (const model of models) {
        for (const tokens of steps) await check(runner, { model, steps: [tokens] });
        await check(runner, { model, steps: [[[1, 0]], [[2, 130]]], context });
      }
    }),
);

webgpuTest("cachedAttention needs no subgroups", () =>
  withRunner(async (runner) => {
    const steps = [[[1, 190]], [...run(2, 30, 12), [0, 7]]] as const;
    for (const model of [...MODELS.slice(0, 2), MODELS[5]]) await check(runner, { model, steps });
    // A GPU without them has several heads in a unit.
    const context = { profile: { ...runner.profile, software: false } };
    await check(runner, { model: MODELS[2], steps: [[[1, 190]]], context });
  }, { without: ["subgroups"] }));

webgpuTest(
  "cachedAttention needs no more shared memory than WebGPU promises",
  () =>
    withRunner(async (runner) => {
      assert.equal(runner.profile.maxWorkgroupStorageBytes, 16384);
      for (const model of [MODELS[1], MODELS[2], SHAPES[0]]) {
        await check(runner, { model, steps: [[[1, 190]]] });
        await check(runner, { model, steps: [[...run(3, 110, 17), [1, 151]]] });
      }
    }, { limits: { maxComputeWorkgroupStorageSize: 16384 } }),
);

webgpuTest(
  "cachedAttention is right in the shapes of a GPU, whatever runs it here",
  () =>
    withRunner(async (runner) => {
      const profile = { ...runner.profile, software: false };
      const steps = [[[1, 190]], [...run(2, 130, 3), [0, 7]]] as const;
      const few = { profile, tokens: { min: 1, max: 8 } };
      await check(runner, { model: MODELS[1], steps, context: few });
      const many = [...run(3, 110, 17), [1, 151]] as const;
      await check(runner, { model: MODELS[2], steps: [many], context: { profile } });
      // Contexts without tiles, of one, of the two that are not shared out, and of three.
      const positions = [0, 1, 64, 128, 129, 191].map((position) => [[1, position] as const]);
      for (const model of [...MODELS.slice(4), SHAPES[4]]) {
        await check(runner, { model, steps, context: few });
      }
      const even: Model = { ...SHAPES[0], heads: 3, kvHeads: 3, qkNorm: "all" };
      // Half of each head turns.
      const partly: Model = { ...MODELS[1], rope: HALF, qkNorm: "all", split: true, window: 100 };
      for (const model of [even, partly]) {
        await check(runner, { model, steps: positions, context: { profile } });
      }
    }),
);

webgpuTest(
  "cachedAttention keeps sums finite when scores are huge",
  () =>
    withRunner(async (runner) => {
      const model: Model = { heads: 2, kvHeads: 1, headDim: 32, sinks: true };
      for (const tokens of [[[0, 90]], run(0, 50, 20)] as const) {
        const inputs = inputsOf(model, tokens, 3);
        const { qkv } = inputs;
        assert.ok(qkv && qkv.data instanceof Float32Array);
        const huge = { ...qkv, data: qkv.data.map((value) => value * 1e4) };
        const { got, expected } = await runOp(runner, {
          op: "cached_attention",
          attrs: attrsOf(model),
          inputs: { ...inputs, qkv: huge },
          sizes: stepSizes(tokens),
          caches: { layer: randomCache(model) },
        });
        const worst = worstDifference(got[0], expected[0]);
        assert.ok(worst < TOLERANCES.kernelF32, `off by ${worst}`);
      }
    }),
);

webgpuTest("cachedAttention gives the same bits in every run", () =>
  withRunner(async (runner) => {
    const model = MODELS[1];
    const gpu = { ...runner.profile, software: false };
    const cases = [
      { tokens: [[1, 190]], profile: runner.profile },
      { tokens: [[1, 190]], profile: gpu },
      { tokens: run(1, 60, 80), profile: runner.profile },
    ] as const;
    for (const { tokens, profile } of cases) {
      const sizes = { T: tokens.length, R: 1, S: SEQUENCES, P: PAGES_PER_SEQUENCE };
      const { got, dispatches } = await runOp(runner, {
        op: "cached_attention",
        attrs: attrsOf(model),
        inputs: inputsOf(model, tokens, 3),
        sizes,
        caches: { layer: randomCache(model) },
        context: { cacheDtype: () => "f16", profile },
      });
      const [first] = got;
      const { buffer } = dispatches.flatMap(({ bindings }) => bindings)
        .find(({ buffer }) => buffer.kind === "node") ?? assert.fail("no result");
      // Tickets and partial results of one run must not be felt by the next.
      for (let i = 0; i < 4; i++) {
        runner.write(buffer, new Float32Array(first.data.length));
        await runner.run(dispatches, sizes);
        assert.deepEqual(await runner.readF32(buffer, first.data.length), first.data);
      }
    }
  }));

/** Random models and steps: every size, option and mix of sequences. */
const anyCase = fc.record({
  heads: fc.constantFrom([1, 1], [4, 2], [6, 3], [8, 1]),
  headDim: fc.constantFrom(16, 24, 64),
  rope: fc.constantFrom(undefined, "half" as const, "interleaved" as const),
  qkNorm: fc.constantFrom(undefined, "head" as const, "all" as const),
  clip: fc.constantFrom(undefined, 0.7),
  window: fc.constantFrom(undefined, 1, 20, 64),
  sinks: fc.boolean(),
  split: fc.boolean(),
  dtype: fc.constantFrom("f32" as const, "f16" as const),
  runs: fc.uniqueArray(
    fc.record({
      sequence: fc.nat(SEQUENCES - 1),
      first: fc.nat(150),
      count: fc.integer({ min: 1, max: 30 }),
    }),
    { minLength: 1, maxLength: 3, selector: (each) => each.sequence },
  ),
});

webgpuTest(
  "cachedAttention gives what the CPU gives for random models and steps",
  () =>
    withRunner(async (runner) => {
      await fc.assert(
        fc.asyncProperty(anyCase, async ({ heads, runs, rope, ...rest }) => {
          const model: Model = {
            ...rest,
            heads: heads[0],
            kvHeads: heads[1],
            rope: rope && { layout: rope, rotaryDim: rest.headDim / 2, attentionScaling: 1.1 },
          };
          const tokens = runs.flatMap(({ sequence, first, count }) => run(sequence, first, count));
          await check(runner, { model, steps: [tokens] });
        }),
        { numRuns: 8, seed: 5 },
      );
    }),
);
