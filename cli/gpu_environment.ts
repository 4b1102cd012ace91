/**
 * The environment of this process, as Deno's WebGPU should find it.
 *
 * @module
 */

import { GPU_ENVIRONMENT } from "../runtime/mod.ts";

/** Sets what the user has left unset; without the permission a variable stays as it is. */
export function setGpuEnvironment(): void {
  for (const [variable, value] of Object.entries(GPU_ENVIRONMENT)) {
    const { state } = Deno.permissions.querySync({ name: "env", variable });
    if (state === "granted" && Deno.env.get(variable) === undefined) Deno.env.set(variable, value);
  }
}
