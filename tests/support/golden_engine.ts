/**
 * Golden models through the public pipeline: an engine for users, asked for logits and greedy tokens.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Engine, pipeline } from "../../mod.ts";
import { GOLDEN, type GoldenValues } from "./golden_values.ts";
import { relativeError, TOLERANCES } from "./tolerances.ts";

/** Where an engine computes, and in steps of how many tokens at most. */
export interface EnginePlace {
  readonly executor: "cpu" | "webgpu";
  readonly backend: "triton" | "trtllm" | "auto";
  readonly maxNumTokens: number;
  /** Default 64: beyond, LongRoPE takes its other factors, which transformers does in mid-sequence. */
  readonly maxSeqLen?: number;
}

/** An engine with a cache in f32, as the goldens were made; `model` is a golden folder or a path. */
export function deployGolden(
  model: string,
  { executor, backend, maxNumTokens, maxSeqLen = 64 }: EnginePlace,
): Promise<Engine> {
  return pipeline()
    .fuseMoe({ backend })
    .insertCachedAttention({ cache_dtype: "f32" })
    .settings({ maxNumTokens, maxSeqLen, maxBatchSize: 1 })
    .deploy({ model: fileURLToPath(new URL(model, GOLDEN)), executor });
}

/** Prompts of a golden model in steps of a size: logits, and the greedy tokens behind them. */
export async function checkEngine(
  model: string,
  golden: GoldenValues,
  place: EnginePlace,
  prompts: readonly string[] = golden.prompts,
): Promise<void> {
  await using engine = await deployGolden(model, place);
  for (const prompt of prompts) {
    const what = `${prompt} in steps of ${place.maxNumTokens}`;
    const ids = golden.get(`${prompt}.input_ids`);
    const logits = await engine.logits(Int32Array.from(ids));
    const error = relativeError(logits, golden.get(`${prompt}.logits`));
    assert.ok(error <= TOLERANCES.logitsF32, `${what}: logits are off by ${error}`);
    const expected = golden.get(`${prompt}.greedy`);
    const greedy: number[] = [];
    const options = { maxNewTokens: expected.length, temperature: 0, ignoreEos: true };
    for await (const { token } of engine.generate(ids, options)) greedy.push(token);
    assert.deepEqual(greedy, expected, what);
  }
}
