/**
 * Errors of the engine's process, as the server raises them.
 *
 * @module
 */

import { MixlineError } from "../../graph/mod.ts";
import type { WireError } from "./protocol.ts";

/** An error that another process raised, with the exit code and HTTP status it had there. */
export class EngineError extends MixlineError {
  override readonly exitCode: number;
  override readonly httpStatus: number;

  constructor({ code, message, hint, exitCode, status }: WireError) {
    super(code, message, hint === undefined ? {} : { hint });
    this.exitCode = exitCode;
    this.httpStatus = status;
  }
}

/** The error of a line. */
export function fromWire(error: WireError): EngineError {
  return new EngineError(error);
}
