/**
 * Layers of latent attention of random numbers, run step after step over one cache, against the CPU's.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { AttrsOf, CacheDtype } from "../../graph/mod.ts";
import { mlaAttention } from "../../kernels/attention/mla/mla.ts";
import type { LoweringContext } from "../../kernels/kernel.ts";
import {
  activation,
  type OpInput,
  type OpResult,
  randomWeight,
  runOp,
  worstDifference,
} from "./op_case.ts";
import {
  cachedNumbers,
  checkCache,
  inverseFrequencies,
  placeInputs,
  stepSizes,
  type Tokens,
} from "./paged_steps.ts";
import type { DispatchRunner } from "./run_dispatches.ts";
import { TOLERANCES } from "./tolerances.ts";

type Attrs = AttrsOf<"cached_mla_attention">;

/** A layer. */
export interface LatentModel
  extends Pick<Attrs, "heads" | "nopeDim" | "ropeDim" | "valueDim" | "latentDim"> {
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
  readonly expandFrom?: Attrs["expandFrom"];
}

/** Columns of `q`, and of what queries and latents are joined in. */
function widths({ heads, nopeDim, ropeDim, latentDim, rank, joined = 0 }: LatentModel) {
  const own = rank ?? heads * (nopeDim + ropeDim);
  return { own, all: joined + own + latentDim + ropeDim };
}

/** The attributes of a layer. */
export function latentAttrs(model: LatentModel): Attrs {
  const { heads, nopeDim, ropeDim, valueDim, latentDim, layout = "half" } = model;
  return {
    ...{ heads, nopeDim, ropeDim, valueDim, latentDim, cache: "layer", eps: 1e-6 },
    scale: model.scale ?? (nopeDim + ropeDim) ** -0.5,
    rope: { layout, rotaryDim: ropeDim, attentionScaling: 1.1 },
    ...(model.rank !== undefined && { qEps: 1e-5 }),
    ...(model.expandFrom !== undefined && { expandFrom: model.expandFrom }),
    ...(model.joined !== undefined && {
      qFirst: model.joined,
      kvFirst: model.joined + widths(model).own,
    }),
  };
}

/** The inputs of a layer in a step. */
export function latentInputs(model: LatentModel, tokens: Tokens): Record<string, OpInput> {
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

/** How a layer runs. */
export interface LatentRun {
  readonly steps: readonly Tokens[];
  readonly software?: boolean;
  readonly context?: Partial<LoweringContext>;
  /** How far results may be from the CPU's; that of the cache's type where nothing is said. */
  readonly tolerance?: number;
  /** Looks at the dispatches of a step, and at its results. */
  readonly inspect?: (result: OpResult, step: number) => void;
}

/** Runs steps one after the other; results and the cache of latents must be the CPU's. */
export async function checkLatent(
  runner: DispatchRunner,
  model: LatentModel,
  { steps, software = true, context, tolerance, inspect }: LatentRun,
): Promise<void> {
  const { latentDim, ropeDim, dtype = "f32" } = model;
  const cache = {
    keys: cachedNumbers(dtype, [1, 16, latentDim + ropeDim], 11),
    values: cachedNumbers(dtype, [1, 16, 0], 12),
  };
  for (const [i, tokens] of steps.entries()) {
    const result = await runOp(runner, {
      op: "cached_mla_attention",
      attrs: latentAttrs(model),
      inputs: latentInputs(model, tokens),
      sizes: stepSizes(tokens),
      caches: { layer: cache },
      context: {
        cacheDtype: () => dtype,
        profile: { ...runner.profile, software },
        ...context,
      },
      kernel: mlaAttention,
    });
    const { got, expected } = result;
    const what = `${JSON.stringify(model)}, step ${i} of ${tokens.length} tokens`;
    assert.ok(got[0].data.every((each) => Number.isFinite(Number(each))), what);
    const worst = worstDifference(got[0], expected[0]);
    const most = tolerance ?? TOLERANCES[dtype === "f32" ? "kernelF32" : "kernelF16Cache"];
    assert.ok(worst < most, `${what}: off by ${worst}`);
    await checkCache(runner, cache, ["keys"], what);
    inspect?.(result, i);
  }
}
