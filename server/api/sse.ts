/**
 * Server-sent events: one JSON document per event, as OpenAI's streams have them.
 *
 * @module
 */

import type { Context } from "../../deps/hono.ts";
import { errorAnswer } from "../errors.ts";

/** Proxies close silent connections; a comment keeps them open. */
const KEEP_ALIVE_MS = 15_000;
const KEEP_ALIVE = ": keep-alive\n\n";

/** One event of a stream; `event` names its kind where the API has names. */
export interface ServerEvent {
  readonly event?: string;
  readonly data: unknown;
}

/** How a stream is sent. */
export interface StreamOptions {
  /** Line that marks the end of a stream, also of one that ends with an error. */
  readonly last?: string;
  /** An error that came after the headers left. */
  readonly onError: (error: unknown) => void;
  /** Called when the stream has ended, complete or not, or its reader has disconnected. */
  readonly onEnd: () => void;
  /** Called after that where the headers had left. */
  readonly onSent: () => void;
  /** An error as the API's event, after so many others; default `{ "error": ... }`. */
  readonly errorEvent?: (error: unknown, eventsBefore: number) => ServerEvent;
  /** Milliseconds that a connection may be silent; default 15,000. */
  readonly keepAliveMs?: number;
}

const EVENT_STREAM = "text/event-stream";

/** Whether an answer is a stream, which goes on when its headers have left. */
export function isStream({ headers }: Response): boolean {
  return headers.get("content-type")?.startsWith(EVENT_STREAM) ?? false;
}

/**
 * Answers with a stream. The first event is awaited before anything is sent, so that a request that
 * fails at once is answered with its status; where it takes longer than a connection should be silent, as
 * behind long prompts, the headers leave without it.
 */
export async function streamEvents(
  context: Context,
  events: AsyncGenerator<ServerEvent, void>,
  options: StreamOptions,
): Promise<Response> {
  const first = events.next();
  let isThere: boolean;
  try {
    isThere = await withinKeepAlive(first, options) !== undefined;
  } catch (error) {
    options.onEnd();
    throw error;
  }
  const body = ReadableStream.from(lines(first, isThere, events, options)).pipeThrough(
    new TextEncoderStream(),
  );
  context.header("content-type", `${EVENT_STREAM}; charset=utf-8`);
  context.header("cache-control", "no-cache, no-transform");
  // nginx would hold events back otherwise.
  context.header("x-accel-buffering", "no");
  return context.body(body);
}

async function* lines(
  first: Promise<IteratorResult<ServerEvent, void>>,
  isThere: boolean,
  events: AsyncGenerator<ServerEvent, void>,
  options: StreamOptions,
): AsyncGenerator<string, void> {
  const { last, onError, onEnd, onSent, errorEvent = plainError } = options;
  let sent = 0;
  try {
    if (!isThere) yield KEEP_ALIVE;
    let next = first;
    for (;;) {
      const result = await withinKeepAlive(next, options);
      if (result === undefined) {
        yield KEEP_ALIVE;
        continue;
      }
      if (result.done) break;
      sent++;
      yield format(result.value);
      next = events.next();
    }
  } catch (error) {
    onError(error);
    yield format(errorEvent(error, sent));
  } finally {
    onEnd();
    onSent();
    // A reader that has gone leaves the events where they are; this ends them.
    await events.return();
  }
  if (last !== undefined) yield `data: ${last}\n\n`;
}

function plainError(error: unknown): ServerEvent {
  return { data: errorAnswer(error).body };
}

function format({ event, data }: ServerEvent): string {
  return `${event === undefined ? "" : `event: ${event}\n`}data: ${JSON.stringify(data)}\n\n`;
}

/** What a promise gives, or undefined when it takes longer than a connection should be silent. */
async function withinKeepAlive<Value>(
  promise: Promise<Value>,
  { keepAliveMs = KEEP_ALIVE_MS }: StreamOptions,
): Promise<Value | undefined> {
  // Its error is met by whoever awaits it, now or after the silence.
  promise.catch(() => {});
  const { promise: silence, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), keepAliveMs);
  try {
    return await Promise.race([promise, silence]);
  } finally {
    clearTimeout(timer);
  }
}
