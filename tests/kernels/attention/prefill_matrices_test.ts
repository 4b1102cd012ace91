/** Attention of many tokens by matrices of subgroups, with plain WGSL as matrices. */

import assert from "node:assert/strict";
import type { AttrsOf } from "../../../graph/mod.ts";
import { cachedAttention } from "../../../kernels/attention/cached_attention.ts";
import type { CpuCache } from "../../../kernels/cpu/kernel.ts";
import type { MatrixShape } from "../../../kernels/kernel.ts";
import { webgpuTest } from "../../support/adapter.ts";
import { numbersOf } from "../../support/host_tensors.ts";
import { withMatrices } from "../../support/matrix_configs.ts";
import { activation, type OpInput, randomWeight, runOp } from "../../support/op_case.ts";
import {
  cachedNumbers,
  placeInputs,
  run,
  stepSizes,
  type Tokens,
} from "../../support/paged_steps.ts";
import { type DispatchRunner, withRunner } from "../../support/run_dispatches.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

/**
 * Wider than any device's: a CPU takes minutes to compile as many plain matrices as a GPU has. The second is
 * for tiles that two teams share.
 */
const WIDE: readonly MatrixShape[] = [{ m: 16, n: 32, k: 32 }, { m: 16, n: 16, k: 32 }];
const PLAIN = WIDE.map((shape) => ({ ...shape, plain: true }));

interface Model {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly window?: number;
  readonly sinks?: boolean;
  readonly dtype?: "f16" | "f8_e4m3";
  /** Largest number of q, k and v; 2 where nothing is said. */
  readonly magnitude?: number;
}

interface Check {
  readonly model: Model;
  readonly steps: readonly Tokens[];
  /** Most tokens of the step, where they are more than it has: other tiles are chosen then. */
  readonly most?: number;
  /** Where scores are large: one is off by up to 2^-11 of its absolute terms, and its weight by as much. */
  readonly tolerance?: number;
}

async function check(
  runner: DispatchRunner,
  { model, steps, most, tolerance }: Check,
): Promise<void> {
  const { heads, kvHeads, headDim, window, sinks, dtype = "f16", magnitude = 2 } = model;
  const part = (seed: number) => cachedNumbers(dtype, [kvHeads, 16, headDim], seed);
  const cache: CpuCache = { keys: part(11), values: part(12) };
  const attrs: AttrsOf<"cached_attention"> = {
    ...{ heads, kvHeads, headDim, window, cache: "layer", scale: 1 / Math.sqrt(headDim) },
    ...{ rope: undefined, qkNorm: undefined, clip: undefined },
  };
  for (const [i, tokens] of steps.entries()) {
    const sizes = { T: tokens.length };
    const inputs: Record<string, OpInput | undefined> = {
      qkv: activation(["T", (heads + 2 * kvHeads) * headDim], sizes, 31 + i, magnitude),
      ...placeInputs(tokens),
      sinks: sinks ? randomWeight("f32", [heads], 23, 3) : undefined,
    };
    const { got, expected, dispatches } = await runOp(runner, {
      ...{ op: "cached_attention", attrs, inputs, sizes: stepSizes(tokens) },
      caches: { layer: cache },
      context: {
        ...{ cacheDtype: () => dtype, pageSize: 16, operands: "auto" },
        ...(most && { tokens: { min: 1, max: most } }),
      },
      lower: (node, context) =>
        cachedAttention.lower(node, {
          ...context,
          profile: context.profile.matrices
            ? context.profile
            : { ...withMatrices(context.profile, WIDE[0], true), matrices: PLAIN },
        }),
    });
    const kernels = dispatches.map(({ kernel }) => kernel);
    assert.ok(kernels.includes("attention_prefill_matrices"), kernels.join());
    const error = relativeError(numbersOf(got[0]), numbersOf(expected[0]));
    assert.ok(
      error <= (tolerance ?? TOLERANCES.moeF16Operands),
      `${JSON.stringify(model)}: ${error}`,
    );
  }
}

const CASES: Readonly<Record<string, Check>> = {
  "sequences beside each other in a tile, several tiles of keys, grouped heads, sinks": {
    model: { heads: 4, kvHeads: 2, headDim: 64, sinks: true },
    steps: [run(0, 0, 70), [...run(0, 70, 20), ...run(1, 0, 9), ...run(2, 3, 40), [3, 5]]],
  },
  "a window, and scores that grow from tile to tile": {
    model: { heads: 2, kvHeads: 1, headDim: 64, window: 100, magnitude: 6 },
    steps: [run(1, 0, 150)],
    most: 8192,
    tolerance: 1e-2,
  },
  "heads of 256, whose keys and values two teams share, and a cache in FP8": {
    model: { heads: 2, kvHeads: 1, headDim: 256, dtype: "f8_e4m3", magnitude: 6 },
    steps: [[...run(1, 0, 75), ...run(0, 0, 12)]],
    tolerance: 1e-2,
  },
};

webgpuTest("attention by matrices agrees with the CPU", async (t) => {
  await withRunner(async (runner) => {
    const { matrices, subgroups, subgroupSize } = runner.profile;
    // Teams that share a tile are subgroups, also where matrices are plain.
    const ignore = !matrices && !(subgroups && subgroupSize >= 8);
    const reason = ignore ? " [left out: subgroups of fewer than 8]" : "";
    for (const [name, each] of Object.entries(CASES)) {
      await t.step({ name: `${name}${reason}`, ignore, fn: () => check(runner, each) });
    }
  });
});
