/**
 * Many clients at once, bounded, on the loopback address: every request ends, and nothing is left over.
 *
 * @module
 */

import assert from "node:assert/strict";
import OpenAI from "../../deps/openai.ts";
import { serveScripted, serveStoryteller, type TestServer } from "../support/server.ts";
import { slowTest } from "../support/quick.ts";

/** How many requests run, and how many of them at a time. */
interface Load {
  readonly requests: number;
  readonly clients: number;
  readonly model: string;
  readonly promptOf: (index: number) => string;
  readonly tokensOf: (index: number) => number;
}

type Outcome = "complete" | "cancelled" | "refused";

slowTest(
  "64 streams at a time, 500 requests, a fifth of them cancelled: each ends, nothing is left",
  async () => {
    await using opened = await serveScripted({ maxRequests: 60 });
    const outcomes = await run(opened, {
      requests: 500,
      clients: 64,
      model: "scripted",
      promptOf: (index) => `count ${1 + (index * 7) % 40}`,
      tokensOf: (index) => 1 + (index * 7) % 40,
    });
    assert.equal(outcomes.length, 500);
    assert.equal(outcomes.filter((outcome) => outcome === "cancelled").length, 100);
    assert.ok(outcomes.filter((outcome) => outcome === "complete").length >= 300, String(outcomes));
    await isEmpty(opened);
  },
);

slowTest(
  "a real engine under 16 streams gives its pages back, and every text is whole",
  async () => {
    await using opened = await serveStoryteller();
    const outcomes = await run(opened, {
      requests: 60,
      clients: 16,
      model: "storyteller",
      promptOf: (index) => "Once upon a time there was a fox. ".repeat(1 + index % 5),
      tokensOf: (index) => 1 + index % 9,
    });
    const complete = outcomes.filter((outcome) => outcome === "complete").length;
    assert.deepEqual([outcomes.length, complete], [60, 48]);
    await isEmpty(opened);
  },
);

slowTest(
  "a long prefix that is known makes the next request start at least five times sooner",
  async () => {
    await using opened = await serveStoryteller();
    const prefix = "The little fox found a drum in the old forest and played it all day. ".repeat(
      40,
    );
    const firstTokenMs = async (question: string) => {
      const begin = performance.now();
      const stream = await opened.client.completions.create({
        model: "storyteller",
        prompt: prefix + question,
        max_tokens: 1,
        stream: true,
      });
      for await (const _ of stream) return performance.now() - begin;
      return assert.fail("no token came");
    };
    const cold = await firstTokenMs("Then");
    // The best of several: a machine that is busy for a moment makes one of them late.
    let warm = Infinity;
    for (const question of ["Now", "One day", "Soon", "Later", "At last"]) {
      warm = Math.min(warm, await firstTokenMs(question));
    }
    assert.ok(cold > 5 * warm, `${cold} ms without, ${warm} ms with the prefix`);
  },
);

/** Runs the load; a request that was refused is counted, not repeated. */
async function run(opened: TestServer, load: Load): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  let next = 0;
  const client = async () => {
    while (next < load.requests) outcomes.push(await request(opened, load, next++));
  };
  await Promise.all(Array.from({ length: load.clients }, client));
  return outcomes;
}

async function request(
  { client }: TestServer,
  { model, promptOf, tokensOf }: Load,
  index: number,
): Promise<Outcome> {
  const abort = new AbortController();
  const isCancelled = index % 5 === 4;
  try {
    const stream = await client.completions.create({
      model,
      prompt: promptOf(index),
      max_tokens: isCancelled ? 200 : tokensOf(index),
      stream: true,
      logit_bias: { "0": -100, "2": -100 },
      stream_options: { include_usage: true },
    }, { signal: abort.signal });
    let tokens: number | undefined;
    for await (const { usage } of stream) {
      if (isCancelled) {
        abort.abort();
        return "cancelled";
      }
      tokens = usage?.completion_tokens ?? tokens;
    }
    assert.equal(tokens, tokensOf(index));
    return "complete";
  } catch (error) {
    if (isCancelled) return "cancelled";
    if (error instanceof OpenAI.RateLimitError) return "refused";
    throw error;
  }
}

async function isEmpty({ server }: TestServer): Promise<void> {
  const { admission, supervisor } = server.service;
  const end = performance.now() + 5000;
  for (;;) {
    const { running, waiting, pages } = await supervisor.engine.stats();
    if (running + waiting + pages.used + admission.inFlight === 0) break;
    if (performance.now() > end) assert.fail(JSON.stringify({ running, waiting, pages }));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(supervisor.restarts, 0);
  assert.equal(supervisor.engine.inFlight, 0);
}
