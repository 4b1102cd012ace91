/**
 * The `reference` backend: the loop over experts of the CPU executor. It is the oracle of the other
 * backends and has no WebGPU form.
 *
 * @module
 */

import { KernelError } from "../../graph/mod.ts";
import type { MoeBackend } from "./backend.ts";

const REASON = "runs on the CPU executor only";

/** The CPU's loop over experts. */
export const referenceBackend: MoeBackend = {
  name: "reference",
  summary: "the eager loop over experts on the CPU; the oracle",
  supports: (spec) => spec.profile ? REASON : undefined,
  compile(spec) {
    throw new KernelError(
      "kernel/refused",
      `Cannot run MoE layer "${spec.scope}" on WebGPU: expected a backend with shaders, got reference, which ${REASON}`,
      { hint: "Choose backend auto, triton or trtllm, or use --executor cpu" },
    );
  },
};
