/**
 * Compiles a layer that stands in no graph, as the kernel of `fused_moe` does: every mistake of a
 * backend is an error with its name.
 *
 * @module
 */

import type { Value } from "../../graph/mod.ts";
import type { Dispatch } from "../kernel.ts";
import type { MoeBackend } from "./backend.ts";
import { callBackend, checkBackend } from "./check_backend.ts";
import type { DeviceMoeSpec, MoeValues } from "./spec.ts";

/**
 * The dispatches of a backend, or in words why it cannot serve the layer.
 *
 * @throws {KernelError} for anything that is wrong with what the backend gives.
 */
export function compileMoeLayer(
  backend: MoeBackend,
  spec: DeviceMoeSpec,
  values: MoeValues,
): readonly Dispatch[] | string {
  const { output, choice: _, ...inputs } = values;
  const given: Readonly<Record<string, Value | readonly Value[]>> = { ...inputs };
  const node = { scope: spec.scope, inputs: given, outputs: [output] };
  const place = { backend: backend.name, node, profile: spec.profile, tokens: spec.tokens };
  const refused = callBackend(place, "supports()", () => backend.supports(spec));
  if (refused !== undefined) return refused;
  const dispatches = callBackend(
    place,
    "compile()",
    () => backend.compile(spec, values, () => {}),
  );
  return checkBackend(dispatches, place);
}
