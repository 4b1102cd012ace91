/**
 * The families of GGUF files that are read. A family is one file and one line here.
 *
 * @module
 */

import { CheckpointError } from "../../graph/mod.ts";
import { deepseek2 } from "./families/deepseek2.ts";
import { gptOss } from "./families/gpt_oss.ts";
import { graniteMoe } from "./families/granite_moe.ts";
import { mixtral } from "./families/mixtral.ts";
import { olmoe } from "./families/olmoe.ts";
import { qwen2Moe } from "./families/qwen2_moe.ts";
import { qwen3Moe } from "./families/qwen3_moe.ts";
import { dots1, glm4Moe, minimaxM2 } from "./families/sigmoid_moe.ts";
import type { GgufFamily } from "./gguf_family.ts";

/** Every family. */
export const GGUF_FAMILIES: readonly GgufFamily[] = [
  deepseek2,
  dots1,
  glm4Moe,
  gptOss,
  graniteMoe,
  minimaxM2,
  mixtral,
  olmoe,
  qwen2Moe,
  qwen3Moe,
];

/** The family of a value of `general.architecture`; an error that lists all when it is unknown. */
export function findGgufFamily(architecture: string, path: string): GgufFamily {
  const found = GGUF_FAMILIES.find(({ architectures }) => architectures.includes(architecture));
  if (found) return found;
  const known = GGUF_FAMILIES.flatMap(({ architectures }) => architectures);
  throw new CheckpointError(
    "checkpoint/architecture",
    `Cannot use the model of "${path}": expected one of ${known.join(", ")}, got "${architecture}"`,
    {
      hint: "Choose a model of these architectures, or its safetensors",
      details: { path, found: architecture, known },
    },
  );
}
