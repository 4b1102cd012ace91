/**
 * From accesses and a body to a dispatch: the one way in which kernels bind buffers.
 *
 * @module
 */

import { type Access, joinAccess } from "./access/access.ts";
import { composeShader } from "./compose.ts";
import type { Dispatch } from "./kernel.ts";

/** A dispatch before its shader is composed. */
export interface DispatchParts extends Pick<Dispatch, "kernel" | "workgroups" | "weightBytes"> {
  /** What the shader reads, writes and calls; buffers are bound in this order. */
  readonly accesses: readonly Access[];
  /** Text with entry point `main`. */
  readonly body: string;
}

/** Composes the shader of a dispatch and binds its buffers. */
export function composeDispatch(
  { kernel, accesses, body, workgroups, weightBytes }: DispatchParts,
): Dispatch {
  const { buffers, fragments, constants } = joinAccess(...accesses);
  const shader = composeShader({ constants, buffers, fragments, body });
  return { kernel, ...shader, workgroups, ...(weightBytes && { weightBytes }) };
}
