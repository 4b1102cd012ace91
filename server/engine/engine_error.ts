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

  constructor({ code, message, hint, param, exitCode, status }: WireError) {
    super(code, message, {
      ...(hint !== undefined && { hint }),
      ...(param !== undefined && { details: { param } }),
    });
    this.exitCode = exitCode;
    this.httpStatus = status;
  }

  /** The same error about a field called `param`, its texts as `say` gives them. */
  about(param: string, say: (text: string) => string): EngineError {
    const { code, message, hint, exitCode, httpStatus: status } = this;
    return new EngineError({
      ...{ code, message: say(message), param, exitCode, status },
      ...(hint !== undefined && { hint: say(hint) }),
    });
  }
}

/** The error of a line. */
export function fromWire(error: WireError): EngineError {
  return new EngineError(error);
}
