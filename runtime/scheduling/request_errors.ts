/**
 * Errors of requests that ended early, shared by everything that raises them.
 *
 * @module
 */

import { RequestError } from "../../graph/mod.ts";

/** The request's signal was aborted. */
export function aborted(reason: unknown): RequestError {
  return new RequestError(
    "request/aborted",
    "Cannot go on generating: expected a live request, got an aborted one",
    {
      status: 499,
      cause: reason,
    },
  );
}

/** The request took longer than its time limit. */
export function timedOut(milliseconds: number): RequestError {
  return new RequestError(
    "request/timeout",
    `Cannot go on generating: expected an end within ${milliseconds} ms, got none`,
    {
      hint:
        "Allow more time with timeoutMs, ask for fewer tokens, or send fewer requests at a time",
      status: 504,
      details: { timeoutMs: milliseconds },
    },
  );
}

/** Too many requests wait. */
export function queueFull(waiting: number, most: number): RequestError {
  return new RequestError(
    "request/queue-full",
    `Cannot queue the request: expected fewer than ${most} waiting, got ${waiting}`,
    {
      hint: "Send it again later, or deploy with a larger max_queue_size",
      status: 429,
      details: { waiting, maxWaiting: most },
    },
  );
}

/** The engine is closed or closing. */
export function engineClosed(): RequestError {
  return new RequestError(
    "request/engine-closed",
    "Cannot use the engine: expected an open one, got a closed one",
    {
      status: 503,
    },
  );
}

/** The results of a step are no longer needed. */
export function stepUnwanted(): RequestError {
  return new RequestError(
    "request/aborted",
    "Cannot finish a step: expected a sequence that goes on, got none",
    {
      status: 499,
    },
  );
}
