/**
 * Limits how many requests are served at a time, and how long each may take.
 *
 * @module
 */

import { RequestError } from "../graph/mod.ts";
import type { ServerMetrics } from "./metrics.ts";
import type { ServerSettings } from "./settings.ts";

/** The limit of requests in flight; one above it is refused at once, to be sent again. */
export class Admission {
  #inFlight = 0;
  #closed = false;
  readonly #idle = Promise.withResolvers<void>();

  constructor(readonly settings: ServerSettings, readonly metrics: ServerMetrics) {}

  /** Requests that were taken and have not ended. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** No more requests are taken. */
  get isClosed(): boolean {
    return this.#closed;
  }

  /**
   * Takes a request, for as long as the returned object lives. Its signal says when to stop: the
   * client has gone, or the time is over.
   *
   * @throws {RequestError} 429 when there is no room, 503 when the server is about to end.
   */
  enter(client: AbortSignal): Admitted {
    const { maxRequests, requestTimeoutSeconds } = this.settings;
    if (this.#closed) {
      throw new RequestError(
        "request/closing",
        "Cannot take the request: expected a running server, got one that is shutting down",
        {
          status: 503,
          hint: "Send it to another server, or again in a moment",
        },
      );
    }
    if (this.#inFlight >= maxRequests) {
      this.metrics.refused.inc();
      throw new RequestError(
        "request/queue-full",
        `Cannot take the request: expected at most ${maxRequests} requests in flight, got one more`,
        { status: 429, hint: "Send it again after the seconds of Retry-After" },
      );
    }
    this.#inFlight++;
    const leaveMetrics = this.metrics.begin();
    return new Admitted(client, requestTimeoutSeconds * 1000, () => {
      leaveMetrics();
      this.#inFlight--;
      if (this.#closed && this.#inFlight === 0) this.#idle.resolve();
    });
  }

  /** Takes no more requests; resolves when those in flight have ended. */
  drain(): Promise<void> {
    this.#closed = true;
    if (this.#inFlight === 0) this.#idle.resolve();
    return this.#idle.promise;
  }
}

/** One request that was taken. */
export class Admitted implements Disposable {
  readonly #abort = new AbortController();
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #onClient = () => this.#abort.abort(this.client.reason);
  #left = false;

  constructor(readonly client: AbortSignal, timeoutMs: number, readonly leave: () => void) {
    this.#timer = setTimeout(() => {
      this.#abort.abort(
        new RequestError(
          "request/timeout",
          `Cannot finish the request: expected an answer within ${timeoutMs / 1000} s, got none`,
          { status: 504, hint: "Ask for fewer tokens, or serve with a larger --request-timeout" },
        ),
      );
    }, timeoutMs);
    if (client.aborted) this.#onClient();
    else client.addEventListener("abort", this.#onClient, { once: true });
  }

  /** Aborts when the request has to stop. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Ends the request's work now, as when its reader has gone. */
  cancel(): void {
    this.#abort.abort();
  }

  [Symbol.dispose](): void {
    if (this.#left) return;
    this.#left = true;
    clearTimeout(this.#timer);
    this.client.removeEventListener("abort", this.#onClient);
    this.leave();
  }
}
