import assert from "node:assert/strict";
import fc from "../../../../deps/fast_check.ts";
import type { AttrsOf, CacheDtype } from "../../../../graph/mod.ts";
import { generalAttention } from "../../../../kernels/attention/general/general.ts";
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
  checkCache,
  inverseFrequencies,
  placeInputs,
  run,
  stepSizes,
  type Tokens,
} from "../../../support/paged_steps.ts";
import { type DispatchRunner, withRunner } from "../../../support/run_dispatches.ts";
import { TOLERANCES } from "../../../support/tolerances.ts";

type Attrs = AttrsOf<"cached_attention">;

interface Model extends Omit<Attrs, "cache" | "scale"> {
  readonly scale?: number;
  readonly sinks?: boolean;
  /** q, k and v are values of their own. */
  readonly split?: boolean;
  readonly dtype?: CacheDtype;
  /** Largest number of q, k and v. */
  readonly magnitude?: number;
}

function attrsOf(model: Model): Attrs {
  return { scale: model.headDim ** -0.5, ...model, cache: "layer" };
}

function inputsOf(model: Model, tokens: Tokens): Record<string, OpInput | undefined> {
  const { heads, kvHeads, headDim, valueDim = headDim, rope, qkNorm, magnitude = 2 } = model;
  const widths = [heads * headDim, kvHeads * headDim, kvHeads * valueDim];
  const rows = (width: number, seed: number) =>
    activation(["T", width], { T: tokens.length }, seed, magnitude);
  const norm = (width: number, seed: number) =>
    qkNorm && randomWeight("f32", [qkNorm.over === "head" ? headDim : width], seed);
  const [q, k] = widths;
  const v = model.keysAreValues ? 0 : widths[2];
  return {
    ...(model.split
      ? { q: rows(q, 31), k: rows(k, 32), v: rows(v, 33) }
      : { qkv: rows(q + k + v, 31) }),
    ...placeInputs(tokens),
    inv_freq: rope && inverseFrequencies(rope.rotaryDim),
    q_norm: norm(q, 21),
    k_norm: norm(k, 22),
    sinks: model.sinks ? randomWeight("f32", [heads], 23, 3) : undefined,
  };
}

/** Runs steps one after the other; results and caches must be the CPU's. */
async function check(
  runner: DispatchRunner,
  model: Model,
  steps: readonly Tokens[],
): Promise<void> {
  const { kvHeads, headDim, valueDim = headDim, dtype = "f32" } = model;
  const cache = {
    keys: cachedNumbers(dtype, [kvHeads, 16, headDim], 11),
    values: cachedNumbers(dtype, [kvHeads, 16, valueDim], 12),
  };
  for (const [i, tokens] of steps.entries()) {
    const { got, expected } = await runOp(runner, {
      op: "cached_attention",
      attrs: attrsOf(model),
      inputs: inputsOf(model, tokens),
      sizes: stepSizes(tokens),
      caches: { layer: cache },
      context: { cacheDtype: () => dtype, tokens: { min: 1, max: 64 } },
      kernel: generalAttention,
    });
    const what = `${JSON.stringify(model)}, step ${i} of ${tokens.length} tokens`;
    assert.ok(got[0].data.every((each) => Number.isFinite(Number(each))), what);
    const worst = worstDifference(got[0], expected[0]);
    const tolerance = TOLERANCES[dtype === "f16" ? "kernelF16Cache" : "kernelF32"];
    assert.ok(worst < tolerance, `${what}: off by ${worst}`);
    await checkCache(runner, cache, ["keys", "values"], what);
  }
}

/** One token at the beginning and far behind it; a prompt; sequences of different lengths. */
const STEPS: readonly Tokens[] = [
  [[1, 0]],
  [[1, 191]],
  run(2, 0, 21),
  [...run(2, 21, 3), [0, 129], ...run(3, 60, 9), [1, 1]],
];

const MODELS: Record<string, Model> = {
  "odd heads, values that are smaller": { heads: 3, kvHeads: 1, headDim: 13, valueDim: 5 },
  "values that are larger than a workgroup, sinks, a window": {
    ...{ heads: 2, kvHeads: 2, headDim: 6, valueDim: 131, window: 7, sinks: true, split: true },
  },
  "keys that are values, normed": {
    ...{ heads: 4, kvHeads: 2, headDim: 14, keysAreValues: true, valueNorm: { eps: 1e-5 } },
    rope: { layout: "half", rotaryDim: 8, attentionScaling: 1.2 },
    qkNorm: { eps: 1e-6, over: "all" },
  },
  "chunks, norms of heads, RoPE of a part": {
    ...{ heads: 6, kvHeads: 2, headDim: 22, chunk: 5 },
    rope: { layout: "half", rotaryDim: 8, attentionScaling: 1.2 },
    qkNorm: { eps: 1e-5, over: "head" },
  },
  "norms over all heads, clipped, neighbours that turn": {
    ...{ heads: 4, kvHeads: 4, headDim: 10, clip: 0.8, scale: 0.7 },
    rope: { layout: "interleaved", rotaryDim: 10, attentionScaling: 1 },
    qkNorm: { eps: 1e-6, over: "all" },
  },
  "pairs in f16": {
    ...{ heads: 5, kvHeads: 1, headDim: 18, valueDim: 26, chunk: 16, dtype: "f16" },
    rope: { layout: "half", rotaryDim: 18, attentionScaling: 1 },
  },
  "codes of E4M3, saturated": {
    ...{ heads: 2, kvHeads: 1, headDim: 12, valueDim: 20, dtype: "f8_e4m3", magnitude: 600 },
  },
  "bounds beyond u32 and f32, which bound nothing": {
    ...{ heads: 1, kvHeads: 1, headDim: 7, chunk: 5e9, window: 5e9, clip: 1e39 },
  },
  "scores far beyond what exp takes": {
    ...{ heads: 2, kvHeads: 1, headDim: 9, valueDim: 3, magnitude: 2e4, sinks: true },
  },
};

for (const [name, model] of Object.entries(MODELS)) {
  webgpuTest(
    `generalAttention gives what the CPU gives: ${name}`,
    () => withRunner((runner) => check(runner, model, STEPS)),
  );
}

webgpuTest(
  "generalAttention needs no subgroups",
  () =>
    withRunner(async (runner) => {
      await check(runner, MODELS["odd heads, values that are smaller"], STEPS);
    }, { without: ["subgroups"] }),
);

webgpuTest(
  "generalAttention says which heads a packed cache cannot hold",
  () =>
    withRunner(({ profile }) => {
      const model: Model = { heads: 1, kvHeads: 1, headDim: 12, valueDim: 5 };
      const tokens = run(0, 0, 1);
      const { node } = buildNode({
        op: "cached_attention",
        attrs: attrsOf(model),
        inputs: inputsOf(model, tokens),
      });
      const refuse = (dtype: CacheDtype) =>
        generalAttention.refuse(node, {
          profile,
          tokens: { min: 1, max: 1 },
          maxRows: 1,
          pageSize: 16,
          cacheDtype: () => dtype,
          note() {},
        });
      assert.equal(refuse("f32"), undefined);
      assert.equal(refuse("f16"), "takes heads that are multiples of 2 with this cache, not 5");
      assert.equal(refuse("f8_e4m3"), "takes heads that are multiples of 4 with this cache, not 5");
      return Promise.resolve();
    }),
);

/** Random models and steps of several sequences. */
const anyCase = fc.record({
  heads: fc.constantFrom([1, 1], [6, 2], [5, 5]),
  headDim: fc.integer({ min: 1, max: 70 }),
  valueDim: fc.integer({ min: 1, max: 150 }),
  turning: fc.constantFrom(undefined, "half" as const, "interleaved" as const),
  over: fc.constantFrom(undefined, "head" as const, "all" as const),
  window: fc.constantFrom(undefined, 1, 17),
  chunk: fc.constantFrom(undefined, 1, 30),
  sinks: fc.boolean(),
  split: fc.boolean(),
  first: fc.nat(150),
  count: fc.integer({ min: 1, max: 12 }),
});

webgpuTest(
  "generalAttention gives what the CPU gives for random models and steps",
  () =>
    withRunner(async (runner) => {
      await fc.assert(
        fc.asyncProperty(anyCase, async ({ heads, turning, over, first, count, ...rest }) => {
          const rotaryDim = 2 * Math.ceil(rest.headDim / 4);
          const model: Model = {
            ...rest,
            heads: heads[0],
            kvHeads: heads[1],
            ...(turning && rest.headDim >= rotaryDim &&
              { rope: { layout: turning, rotaryDim, attentionScaling: 1 } }),
            ...(over && { qkNorm: { eps: 1e-5, over } }),
          };
          await check(runner, model, [[...run(3, first, count), [0, 5]]]);
        }),
        { numRuns: 6, seed: 7 },
      );
    }),
);
