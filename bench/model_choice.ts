/**
 * Which whole models a report is about, and how long they are measured.
 *
 * @module
 */

import { ConfigError } from "../graph/mod.ts";
import { modelCalled, modelSizes } from "./model_sizes.ts";
import { LOAD_FORMATS, type ModelChoice, type ModelPlan } from "./model_result.ts";

/** The smallest of the released ones, so that nobody's disk is filled unasked. */
const DEFAULT_MODEL = "OLMoE-1B-7B";

/** A choice by the user. */
export interface PlanChoice {
  readonly quick?: boolean | undefined;
  readonly layers?: number | undefined;
  readonly streams?: readonly number[] | undefined;
}

/**
 * The models of these names, on a software adapter their twins; `qwen3:int8` is quantized while it loads.
 *
 * @throws {ConfigError} for a model or format that is not there.
 */
export function chooseModels(
  names: readonly string[] = [DEFAULT_MODEL],
  isSoftware: boolean,
): readonly ModelChoice[] {
  const known = modelSizes(isSoftware);
  return names.map((each) => {
    const [name, format] = each.trim().split(":");
    const model = modelCalled(name, known);
    return format === undefined ? { model } : { model, format: formatCalled(format) };
  });
}

/** What is measured of each: on a software adapter what takes seconds. */
export function planModels(isSoftware: boolean, choice: PlanChoice = {}): ModelPlan {
  const { quick = false, layers, streams } = choice;
  const prompts = isSoftware
    ? [{ tokens: 64, answer: 16 }, { tokens: 16, answer: 16 }]
    : [{ tokens: 512, answer: 128 }, { tokens: 16, answer: 128 }, { tokens: 2048, answer: 32 }];
  return {
    prompts: quick ? prompts.slice(0, 1) : prompts,
    coldTokens: 16,
    rounds: quick || isSoftware ? 3 : 5,
    streams: streams ?? (quick || isSoftware ? [1, 8] : [1, 8, 32]),
    streamTokens: isSoftware ? 16 : 64,
    layers,
  };
}

function formatCalled(name: string): NonNullable<ModelChoice["format"]> {
  const found = LOAD_FORMATS.find((format) => format === name);
  if (found) return found;
  throw new ConfigError(
    "bench/unknown-format",
    `Cannot quantize a model to "${name}": expected ${LOAD_FORMATS.join(", ")}`,
  );
}
