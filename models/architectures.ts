/**
 * The registry of architectures: one line each.
 *
 * @module
 */

import { CheckpointError, nearest } from "../graph/mod.ts";
import type { Architecture } from "./architecture.ts";
import { gptOss } from "./architectures/gpt_oss.ts";
import { mixtral } from "./architectures/mixtral.ts";
import { olmoe } from "./architectures/olmoe.ts";
import { qwen3Moe } from "./architectures/qwen3_moe.ts";

/** Every architecture. */
export const ARCHITECTURES: readonly Architecture[] = [
  gptOss,
  mixtral,
  olmoe,
  qwen3Moe,
];

/** The architecture that a config.json names; an error that lists all when it is unknown. */
export function findArchitecture(config: Record<string, unknown>, file: string): Architecture {
  const names = Array.isArray(config.architectures) ? config.architectures.map(String) : [];
  const found = ARCHITECTURES.find(({ hfNames }) => hfNames.some((name) => names.includes(name)));
  if (found) return found;
  const known = ARCHITECTURES.flatMap(({ hfNames }) => hfNames);
  const near = names.length > 0 ? nearest(names[0], known) : undefined;
  throw new CheckpointError(
    "checkpoint/architecture",
    `Cannot use the model of config "${file}": expected one of ${known.join(", ")}, got ${
      names.join(", ") || "no architectures"
    }`,
    {
      hint: near === undefined
        ? "Choose a model of an implemented architecture, or add it in models/architectures"
        : `Did you mean ${near}?`,
      details: { file, found: names, known },
    },
  );
}
