/**
 * The `auto` backend: takes what the tuned table measured as best for this layer, device and range
 * of tokens, and otherwise decides by how many tokens share an expert.
 *
 * @module
 */

import type { MoeBackend } from "./backend.ts";
import { gemmHeuristic } from "./heuristic.ts";
import { describeConfig, lowerConfig, refuseLayer } from "./select.ts";
import { findTuned } from "./tuned.ts";
import { trtllmHeuristic } from "./trtllm.ts";

/** The best of the other backends, per range of tokens. */
export const autoBackend: MoeBackend = {
  name: "auto",
  summary: "the best of the others for each range of tokens",
  supports: refuseLayer,
  compile(spec, slots, note) {
    const tuned = findTuned(spec, ["slots", "experts", "grouped", "permuted"], note);
    const own = trtllmHeuristic(spec);
    // Gathering rows while they are loaded saves the copy that permuting makes.
    const config = tuned?.config ??
      (own.algorithm === "permuted" ? gemmHeuristic(spec, "grouped") : own);
    const backend = config.algorithm === "grouped" ? "triton" : "trtllm";
    const { topK, experts, tokens } = spec;
    const reason = tuned ? "measured" : `${tokens.max * topK} pairs for ${experts} experts`;
    note(`takes ${backend}, ${reason}; ${describeConfig(config, spec, tuned)}`);
    return lowerConfig(spec, slots, config);
  },
};
