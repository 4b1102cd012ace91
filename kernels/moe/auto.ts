/**
 * The `auto` backend: takes what the tuned table measured as best for this layer, device and range
 * of tokens, and otherwise decides by how many tokens share an expert.
 *
 * @module
 */

import type { MoeConfig } from "./algorithms/config.ts";
import type { MoeBackend, MoeNote } from "./backend.ts";
import { describeConfig, lowerConfig, refuseChoice, refuseLayer } from "./select.ts";
import type { DeviceMoeSpec } from "./spec.ts";
import { trtllmHeuristic } from "./trtllm.ts";
import { gemmHeuristic } from "./tuning/heuristic.ts";
import { findTuned, type TunedChoice } from "./tuning/tuned.ts";

/** The best of the other backends, per range of tokens. */
export const autoBackend: MoeBackend = {
  name: "auto",
  summary: "the best of the others for each range of tokens",
  supports: refuseLayer,
  refuseChoice: (spec) => refuseChoice(autoConfig(spec, () => {}).config, spec),
  compile(spec, values, note) {
    const { config, tuned } = autoConfig(spec, note);
    const backend = config.algorithm === "grouped" ? "triton" : "trtllm";
    const { topK, experts, tokens } = spec;
    const reason = tuned ? "measured" : `${tokens.max * topK} pairs for ${experts} experts`;
    note(`takes ${backend}, ${reason}; ${describeConfig(config, spec, tuned)}`);
    return lowerConfig(spec, values, config);
  },
};

/** What the backend runs for a layer, and the tuned row behind it. */
export function autoConfig(
  spec: DeviceMoeSpec,
  note: MoeNote,
): { readonly config: MoeConfig; readonly tuned?: TunedChoice } {
  const tuned = findTuned(spec, ["slots", "experts", "grouped", "permuted"], note);
  if (tuned) return { config: tuned.config, tuned };
  const own = trtllmHeuristic(spec);
  // Gathering rows while they are loaded saves the copy that permuting makes.
  return { config: own.algorithm === "permuted" ? gemmHeuristic(spec, "grouped") : own };
}
