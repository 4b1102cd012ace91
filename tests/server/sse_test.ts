/** Streams of events whose first one is late, or never comes. */

import assert from "node:assert/strict";
import { OpenAPIHono } from "../../deps/hono.ts";
import { type ServerEvent, streamEvents } from "../../server/api/sse.ts";

/** One event, or an error, after some milliseconds. */
async function* after(ms: number, outcome: number | Error): AsyncGenerator<ServerEvent, void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
  if (outcome instanceof Error) throw outcome;
  yield { data: outcome };
}

/** What a client gets of events, and what the server is told. */
async function answer(
  events: AsyncGenerator<ServerEvent, void>,
): Promise<{ status: number; text: string; told: string[] }> {
  const told: string[] = [];
  const app = new OpenAPIHono();
  app.get("/", (context) =>
    streamEvents(context, events, {
      last: "[DONE]",
      keepAliveMs: 50,
      onError: (error) => told.push(String(error)),
      onEnd: () => told.push("end"),
      onSent: () => told.push("sent"),
    }));
  app.onError((error, context) => context.text(error.message, 503));
  const response = await app.request("/");
  return { status: response.status, text: await response.text(), told };
}

Deno.test("a stream that fails at once has a status, and nothing is sent", async () => {
  const failed = await answer(after(1, new Error("too busy")));
  assert.deepEqual(failed, { status: 503, text: "too busy", told: ["end"] });
});

Deno.test("a stream whose first event is late says that it is alive, from the headers on", async () => {
  const late = await answer(after(130, 1));
  assert.deepEqual([late.status, late.told], [200, ["end", "sent"]]);
  assert.match(late.text, /^(: keep-alive\n\n)+data: 1\n\ndata: \[DONE\]\n\n$/);
});

Deno.test("a stream that fails after the headers tells the error as its last event", async () => {
  const failed = await answer(after(80, new Error("the device is lost")));
  assert.deepEqual([failed.status, failed.told], [200, [
    "Error: the device is lost",
    "end",
    "sent",
  ]]);
  assert.match(failed.text, /^(: keep-alive\n\n)+data: \{"error":\{.*\}\}\n\ndata: \[DONE\]\n\n$/);
});
