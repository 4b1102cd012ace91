/**
 * The `trtllm` backend. Few tokens: output-centric kernels, slot by slot, or expert by expert once
 * tokens share experts. Many tokens: rows permuted to expert order, two grouped GEMMs, a finalize
 * that multiplies routing weights.
 *
 * @module
 */

import type { MoeBackend, MoeNote } from "./backend.ts";
import { type MoeConfig, refuseConfig } from "./config.ts";
import { expertHeuristic, gemmHeuristic, rowsPerExpert, slotHeuristic } from "./heuristic.ts";
import { describeConfig, lowerConfig, refuseLayer } from "./select.ts";
import { weightRowBytes } from "../weight_access.ts";
import { type DeviceMoeSpec, matricesOf } from "./spec.ts";
import { findTuned, type TunedChoice } from "./tuned.ts";

/** Most tokens that the expert-major kernels are taken for: they hold sums for each. */
const MOST_EXPERT_TOKENS = 16;
/** Most pairs, which every workgroup sorts for itself. */
const MOST_EXPERT_PAIRS = 128;

/** Experts whose weights a cache of tens of megabytes still has for the next token. */
const SMALL_EXPERT_BYTES = 24e6;

/** Output-centric for few tokens, permuted rows for many. */
export const trtllmBackend: MoeBackend = {
  name: "trtllm",
  summary: "few tokens: output-centric, two dispatches; many: permute, two grouped GEMMs, finalize",
  supports: refuseLayer,
  compile(spec, slots, note) {
    const { config, tuned } = trtllmConfig(spec, note);
    note(describeConfig(config, spec, tuned));
    return lowerConfig(spec, slots, config);
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
  const { tokens, topK, profile } = spec;
  if (tokens.max === 1 || !tokensShareExperts(spec)) return slotHeuristic(spec);
  // A CPU that plays GPU gains more from many sums an invocation than from fewer dispatches.
  if (profile.software) return gemmHeuristic(spec, "permuted");
  if (rereadFromCache(spec)) return slotHeuristic(spec);
  const config = expertHeuristic(spec);
  const few = tokens.max <= MOST_EXPERT_TOKENS && tokens.max * topK <= MOST_EXPERT_PAIRS &&
    rowsPerExpert(spec) <= 8;
  return few && refuseConfig(config, spec) === undefined ? config : gemmHeuristic(spec, "permuted");
}

/** vLLM's measure: below a quarter of the experts in use, two tokens rarely meet in one. */
export function tokensShareExperts({ tokens, topK, experts }: DeviceMoeSpec): boolean {
  return tokens.max * topK * 4 > experts;
}

/**
 * Small experts that two tokens share come from the cache the second time: on an H100, 16 tokens of
 * Qwen3-30B-A3B, OLMoE and DeepSeek-V2-Lite (9 to 17 MB an expert) take 1.2 to 1.3 times longer
 * expert by expert; with gpt-oss's 50 MB it is the other way round.
 */
function rereadFromCache(spec: DeviceMoeSpec): boolean {
  const { tokens, hidden, intermediate, format } = spec;
  const matrices = matricesOf(spec) + 1;
  const expertBytes = matrices * intermediate * weightRowBytes(format, hidden);
  return tokens.max <= MOST_EXPERT_TOKENS && rowsPerExpert(spec) <= 2 &&
    expertBytes <= SMALL_EXPERT_BYTES;
}
