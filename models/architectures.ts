/**
 * The registry of architectures: one line each.
 *
 * @module
 */

import { CheckpointError, ConfigError, editDistance, nearest } from "../graph/mod.ts";
import type { Architecture } from "./architecture.ts";
import { afmoe } from "./architectures/afmoe.ts";
import { aria } from "./architectures/aria.ts";
import { dbrx } from "./architectures/dbrx.ts";
import { cohere2Moe } from "./architectures/cohere2_moe.ts";
import { llama, mistral, olmo2, qwen2, qwen3 } from "./architectures/dense.ts";
import { axk1, deepseekV2, deepseekV3, glm4MoeLite, mistral4 } from "./architectures/deepseek.ts";
import { ernie45Moe } from "./architectures/ernie4_5_moe.ts";
import { gemma3 } from "./architectures/gemma3.ts";
import { gemma4 } from "./architectures/gemma4.ts";
import { gptOss } from "./architectures/gpt_oss.ts";
import { graniteMoe, graniteMoeShared, graniteMoeSwa } from "./architectures/granitemoe.ts";
import { laguna } from "./architectures/laguna.ts";
import { llama4 } from "./architectures/llama4.ts";
import { mimoV2Flash } from "./architectures/mimo_v2_flash.ts";
import { mixtral } from "./architectures/mixtral.ts";
import { flexOlmo, olmoe } from "./architectures/olmoe.ts";
import { phimoe } from "./architectures/phimoe.ts";
import { qwen2Moe } from "./architectures/qwen2_moe.ts";
import { mellum, qwen3Moe, qwen3OmniMoe } from "./architectures/qwen3_moe.ts";
import {
  dots1,
  glm4Moe,
  glm4vMoe,
  hyV3,
  minimaxM2,
  solarOpen,
} from "./architectures/sigmoid_moe.ts";
import { exaoneMoe, hunyuanV1Moe, qwen3VlMoe } from "./architectures/tail.ts";
import { relativeOf } from "./relatives.ts";

/** Every architecture. */
export const ARCHITECTURES: readonly Architecture[] = [
  afmoe,
  aria,
  axk1,
  cohere2Moe,
  dbrx,
  deepseekV2,
  deepseekV3,
  dots1,
  ernie45Moe,
  exaoneMoe,
  flexOlmo,
  gemma3,
  gemma4,
  glm4Moe,
  glm4MoeLite,
  glm4vMoe,
  gptOss,
  graniteMoe,
  graniteMoeShared,
  graniteMoeSwa,
  hunyuanV1Moe,
  hyV3,
  laguna,
  llama,
  llama4,
  mellum,
  mimoV2Flash,
  minimaxM2,
  mistral,
  mistral4,
  mixtral,
  olmo2,
  olmoe,
  phimoe,
  qwen2,
  qwen2Moe,
  qwen3,
  qwen3Moe,
  qwen3OmniMoe,
  qwen3VlMoe,
  solarOpen,
];

/** Architectures of plug-ins. */
const ADDED: Architecture[] = [];

/** Every architecture, those of plug-ins last. */
export function allArchitectures(): readonly Architecture[] {
  return [...ARCHITECTURES, ...ADDED];
}

/**
 * Adds an architecture, so that models whose config.json names one of its classes load. The same one
 * may be added again.
 *
 * @throws {ConfigError} for names that are taken, and for a value that is no architecture.
 */
export function registerArchitecture(architecture: Architecture): void {
  if (ADDED.includes(architecture)) return;
  const { name, hfNames } = architecture;
  const refuse = (problem: string) =>
    new ConfigError("config/architecture", `Cannot register architecture "${name}": ${problem}`, {
      hint: "Make it with defineArchitecture(), with names of its own",
      details: { name },
    });
  if (typeof architecture.configure !== "function" || !Array.isArray(hfNames)) {
    throw refuse("expected what defineArchitecture() gives, got another value");
  }
  if (hfNames.length === 0) throw refuse("expected at least one name of a class, got none");
  const taken = allArchitectures().find((each) =>
    each.name === name || each.hfNames.some((one) => hfNames.includes(one))
  );
  if (taken) throw refuse(`expected new names, got those of architecture "${taken.name}"`);
  ADDED.push(architecture);
}

/** Vision models with a text of any family; `model_type` is that of their text. */
const WRAPPERS = ["Mistral3ForConditionalGeneration"];

/**
 * The architecture that a config.json names; the one of its `model_type` where it names none, or a wrapper
 * of any text. An error that lists all when it is unknown.
 */
export function findArchitecture(config: Record<string, unknown>, file: string): Architecture {
  const names = Array.isArray(config.architectures) ? config.architectures.map(String) : [];
  const found = allArchitectures().find(({ hfNames }) =>
    hfNames.some((name) => names.includes(name))
  );
  if (found) return found;
  const { model_type: type } = config;
  const byType = allArchitectures().find(({ name }) => name === type);
  const open = names.length === 0 || names.some((name) => WRAPPERS.includes(name));
  if (byType && open) return byType;
  const known = allArchitectures().flatMap(({ hfNames }) => hfNames);
  const alike = names.length > 0 ? nearest(names[0], known) : undefined;
  // Classes of other families have names as long, and half of the letters.
  const near = alike !== undefined && editDistance(names[0], alike) <= 2 ? alike : undefined;
  throw new CheckpointError(
    "checkpoint/architecture",
    `Cannot use the model of config "${file}": expected one of ${known.join(", ")}, got ${
      names.join(", ") || `no architectures and model_type ${JSON.stringify(type) ?? "none"}`
    }`,
    {
      hint: relativeOf(type) ??
        (near === undefined
          ? "Choose a model of an implemented architecture, or add its architecture with a plug-in"
          : `Did you mean ${near}?`),
      details: { file, found: names, known },
    },
  );
}
