/**
 * Answers on their way: a request has been served when its last byte has left, which may be long after
 * the last byte was made.
 *
 * @module
 */

import type { ServerType } from "../deps/hono.ts";

/** What of a response tells that it is over: sent whole, or its connection is gone. */
interface Response {
  once(event: "close", listener: () => void): unknown;
}

/** Counts the answers that a server has begun and not sent to their end. */
export class OpenAnswers {
  #count = 0;
  #none = Promise.withResolvers<void>();

  constructor(server: ServerType) {
    server.on("request", (_request: unknown, response: Response) => {
      this.#count++;
      response.once("close", () => {
        if (--this.#count > 0) return;
        this.#none.resolve();
        this.#none = Promise.withResolvers();
      });
    });
  }

  /** Resolves when none is left. */
  async sent(): Promise<void> {
    if (this.#count > 0) await this.#none.promise;
  }
}
