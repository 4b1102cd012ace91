/**
 * The `triton` backend: sort, grouped GEMM that gathers rows with the activation in its epilogue,
 * grouped GEMM with the routing weight in its epilogue, sum over slots. Serves every number of
 * tokens; tile sizes come from the tuned table.
 *
 * @module
 */

import type { MoeConfig } from "./algorithms/config.ts";
import type { MoeBackend } from "./backend.ts";
import { describeConfig, lowerConfig, refuseLayer } from "./select.ts";
import { gemmHeuristic } from "./tuning/heuristic.ts";
import { findTuned } from "./tuning/tuned.ts";

/** Sorted pairs, two grouped GEMMs, a sum over slots. */
export const tritonBackend: MoeBackend = {
  name: "triton",
  summary: "sort by expert, two grouped GEMMs, sum over slots",
  supports: refuseLayer,
  compile(spec, values, note) {
    const tuned = findTuned(spec, ["grouped"], note);
    const config: MoeConfig = tuned?.config ?? gemmHeuristic(spec, "grouped");
    note(describeConfig(config, spec, tuned));
    return lowerConfig(spec, values, config);
  },
};
