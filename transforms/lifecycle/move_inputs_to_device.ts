/**
 * `move_inputs_to_device`: accepted for AutoDeploy's files. Inputs are written to the device at
 * every step, whatever the executor.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineTransform } from "../core/transform.ts";

/** See the module's documentation. */
export const moveInputsToDevice = defineTransform({
  key: "move_inputs_to_device",
  stage: "weight_load",
  summary: "Accepted for AutoDeploy's files; the executor writes inputs to its device itself",
  base: { run_per_gm: false },
  config: z.object({}),
  plan: () => ({ matches: [], notes: ["The executor writes inputs to its device at every step"] }),
  apply() {},
});
