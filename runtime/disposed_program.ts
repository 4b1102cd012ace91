/**
 * The error of a program that is used after its end.
 *
 * @module
 */

import { DeviceError, type Graph } from "../graph/mod.ts";

/** A program was disposed while somebody still used it. */
export function disposedProgram({ name }: Pick<Graph, "name">): DeviceError {
  return new DeviceError(
    "device/closed",
    `Cannot run graph "${name}": expected a live program, got a disposed one`,
    { hint: "Finish or abort generations before closing the engine" },
  );
}
