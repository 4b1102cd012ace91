/**
 * The `trtllm` backend. Few tokens: output-centric kernels, slot by slot, or expert by expert once
 * tokens share experts. Many tokens: rows permuted to expert order, two grouped GEMMs, a finalize
 * that multiplies routing weights.
 *
 * @module
 */

import { type MoeConfig, refuseConfig } from "./algorithms/config.ts";
import type { MoeBackend, MoeNote } from "./backend.ts";
import { describeConfig, lowerConfig, refuseChoice, refuseLayer } from "./select.ts";
import type { DeviceMoeSpec } from "./spec.ts";
import { expertHeuristic, gemmHeuristic, prefersSlots, slotHeuristic } from "./tuning/heuristic.ts";
import { findTuned, type TunedChoice } from "./tuning/tuned.ts";

/** Most tokens for which two dispatches instead of four make up for holding sums for each. */
const MOST_EXPERT_TOKENS = 4;

/** Output-centric for few tokens, permuted rows for many. */
export const trtllmBackend: MoeBackend = {
  name: "trtllm",
  summary: "few tokens: output-centric, two dispatches; many: permute, two grouped GEMMs, finalize",
  supports: refuseLayer,
  refuseChoice: (spec) => refuseChoice(trtllmConfig(spec, () => {}).config, spec),
  compile(spec, values, note) {
    const { config, tuned } = trtllmConfig(spec, note);
    note(describeConfig(config, spec, tuned));
    return lowerConfig(spec, values, config);
  },
};

/** What the backend runs for a layer, and the tuned row behind it. */
export function trtllmConfig(
  spec: DeviceMoeSpec,
  note: MoeNote,
): { readonly config: MoeConfig; readonly tuned?: TunedChoice } {
  const tuned = findTuned(spec, ["slots", "experts", "permuted"], note);
  return tuned ? { config: tuned.config, tuned } : { config: trtllmHeuristic(spec) };
}

/** The algorithm by how many tokens share an expert, and by what the kernels can hold. */
export function trtllmHeuristic(spec: DeviceMoeSpec): MoeConfig {
  const { tokens, profile } = spec;
  if (prefersSlots(spec)) return slotHeuristic(spec);
  // A CPU that plays GPU gains more from many sums an invocation than from fewer dispatches.
  if (profile.software) return gemmHeuristic(spec, "permuted");
  const config = expertHeuristic(spec);
  return tokens.max <= MOST_EXPERT_TOKENS && refuseConfig(config, spec) === undefined
    ? config
    : gemmHeuristic(spec, "permuted");
}
