import assert from "node:assert/strict";
import type { AttrsOf, HostTensor } from "../../graph/mod.ts";
import type { CpuCache } from "../../kernels/cpu/kernel.ts";
import type { LoweringContext } from "../../kernels/kernel.ts";
import { webgpuTest } from "../support/adapter.ts";
import {
  activation,
  integerInput,
  type OpInput,
  randomF32,
  randomWeight,
  runOp,
  worstDifference,
} from "../support/op_case.ts";
import { DispatchRunner } from "../support/run_dispatches.ts";

interface Model {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rope?: AttrsOf<"cached_attention">["rope"];
  readonly qkNorm?: "head" | "all";
  readonly clip?: number;
  readonly window?: number;
  readonly sinks?: boolean;
  readonly split?: boolean;
  readonly dtype?: "f32" | "f16";
  readonly pageSize?: number;
}

/** Tokens of a step: `[sequence, position]` each. */
type Tokens = readonly (readonly [number, number])[];

/** `count` tokens of a sequence from a position on. */
function run(sequence: number, first: number, count: number): Tokens {
  return Array.from({ length: count }, (_, i) => [sequence, first + i] as const);
}

const SEQUENCES = 4;
const PAGES_PER_SEQUENCE = 12;

/** A cache of random numbers, as if other steps had filled it. */
function randomCache({ kvHeads, headDim, dtype = "f32", pageSize = 16 }: Model): CpuCache {
  const pages = SEQUENCES * PAGES_PER_SEQUENCE;
  const shape = [pages, kvHeads, pageSize, headDim];
  const part = (seed: number): HostTensor => {
    const data = randomF32(shape.reduce((a, b) => a * b), seed);
    return { dtype, shape, data: dtype === "f16" ? Float16Array.from(data) : data };
  };
  return { keys: part(11), values: part(12) };
}

/** Pages of the sequences, in an order that is not the natural one. */
function blockTable(): OpInput {
  const count = SEQUENCES * PAGES_PER_SEQUENCE;
  const data = Array.from({ length: count }, (_, i) => (i * 7 + 3) % count);
  return integerInput(["S", "P"], data);
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
  };
}

function inputsOf(model: Model, tokens: Tokens, seed: number): Record<string, OpInput | undefined> {
  const { heads, kvHeads, headDim, rope } = model;
  const sizes = { T: tokens.length };
  const norm = (count: number, own: number) =>
    model.qkNorm && randomWeight("f32", [model.qkNorm === "head" ? headDim : count], own);
  const width = (count: number) => activation(["T", count * headDim], sizes, seed + count, 2);
  return {
    ...(model.split
      ? { q: width(heads), k: width(kvHeads), v: width(kvHeads) }
      : { qkv: width(heads + 2 * kvHeads) }),
    positions: integerInput(["T"], tokens.map(([, position]) => position)),
    sequence_ids: integerInput(["T"], tokens.map(([sequence]) => sequence)),
    block_table: blockTable(),
    inv_freq: rope && {
      dtype: "f32",
      shape: [rope.rotaryDim / 2],
      data: Float32Array.from(
        { length: rope.rotaryDim / 2 },
        (_, i) => 10000 ** (-2 * i / rope.rotaryDim),
      ),
      weight: true,
    },
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
      sizes: { T: tokens.length, S: SEQUENCES, P: PAGES_PER_SEQUENCE },
      caches: { layer: cache },
      context: {
        cacheDtype: () => model.dtype ?? "f32",
        pageSize: model.pageSize ?? 16,
        ...context,
      },
    });
    const what = `${JSON.stringify(model)}, step ${i} of ${tokens.length} tokens`;
    const worst = worstDifference(got[0], expected[0]);
    // An f16 cache may round a number that lies between two of its own to either.
    const tolerance = model.dtype === "f16" ? 2e-4 : 5e-6;
    assert.ok(worst < tolerance, `${what}: off by ${worst}`);
    for (const part of ["keys", "values"] as const) {
      const { dtype, shape, data } = cache[part];
      const raw = await runner.readBytes({ kind: "cache", cache: "layer", part }, data.byteLength);
      const own = dtype === "f16" ? new Float16Array(raw) : new Float32Array(raw);
      const off = worstDifference({ dtype, shape, data: own }, cache[part]);
      assert.ok(off < (dtype === "f16" ? 2e-3 : 5e-6), `${what}: ${part} off by ${off}`);
    }
  }
}

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
