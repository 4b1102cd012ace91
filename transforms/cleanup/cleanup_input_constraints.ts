/**
 * `cleanup_input_constraints`: accepted so that AutoDeploy's files load. There it widens the bounds
 * of traced sizes; here sizes are symbols without bounds.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { defineTransform } from "../core/transform.ts";

/** See the module's documentation. */
export const cleanupInputConstraints = defineTransform({
  key: "cleanup_input_constraints",
  stage: "post_export",
  summary: "Accepted for AutoDeploy's files; symbols here have no bounds to widen",
  config: z.object({}),
  plan: () => ({ matches: [], notes: ["Sizes are symbols without bounds: nothing to widen"] }),
  apply() {},
});
