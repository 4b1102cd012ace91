/**
 * `deno task bench:serve`: tokens per second of a served model with one and with several streams, and
 * of the same engine without HTTP, in turn; times to the first token and between tokens.
 *
 * @module
 */

import { CommanderError } from "../deps/commander.ts";
import { type Pipeline, pipeline } from "../dsl/mod.ts";
import { messageOf, MixlineError } from "../graph/mod.ts";
import type { Engine } from "../runtime/mod.ts";
import { openLog, serve } from "../server/mod.ts";
import { serveBenchCommand, type ServeBenchFlags as Flags } from "./serve_command.ts";
import { formatRatio, formatSeconds, summarize } from "./statistics.ts";

/** One request: when its tokens came, in seconds after it was sent. */
type Arrivals = readonly number[];

/** Answers a prompt of token ids. */
type Ask = (tokens: readonly number[], seed: number) => Promise<Arrivals>;

interface Result {
  readonly by: "engine" | "http";
  readonly streams: number;
  /** Tokens per second of all streams, one number a round. */
  readonly rates: readonly number[];
  readonly firstToken: readonly number[];
  readonly betweenTokens: readonly number[];
}

async function run(flags: Flags): Promise<void> {
  const settings = { model: flags.model, ...(flags.executor && { executor: flags.executor }) };
  const configured = pipeline().settings(settings as Parameters<Pipeline["settings"]>[0]);
  const { device, vocabSize, results: engine } = await onEngine(configured, flags);
  const results = [...engine, ...await onServer(configured, flags, vocabSize)];
  const document = { device, ...flags, results: results.map(summary) };
  if (flags.json) console.log(JSON.stringify(document, null, 2));
  else console.log(`${device}\n${results.map(line).join("\n")}`);
}

async function onEngine(configured: Pipeline, flags: Flags) {
  await using engine = await configured.deploy();
  await engine.warmUp();
  const ask = askEngine(engine, flags);
  const { vocabSize } = engine;
  const results = await measure("engine", ask, flags, vocabSize);
  return { device: engine.report.device, vocabSize, results };
}

function askEngine(engine: Engine, { newTokens }: Flags): Ask {
  return async (tokens, seed) => {
    const begin = performance.now();
    const arrivals: number[] = [];
    const options = { maxNewTokens: newTokens, ignoreEos: true, seed };
    for await (const _ of engine.generate(tokens, options)) {
      arrivals.push((performance.now() - begin) / 1000);
    }
    return arrivals;
  };
}

async function onServer(configured: Pipeline, flags: Flags, vocabSize: number) {
  const opened = await openLog({ format: "text", level: "error", colors: false });
  const server = await serve(configured, { port: 0, drainSeconds: 1 }, { log: opened.log });
  try {
    const { model } = server.service.supervisor.info ?? { model: "" };
    return await measure("http", askServer(server.url, model, flags), flags, vocabSize);
  } finally {
    await server.close();
  }
}

function askServer(url: string, model: string, { newTokens }: Flags): Ask {
  return async (prompt, seed) => {
    const begin = performance.now();
    const response = await fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        ...{ model, prompt, seed, stream: true, ignore_eos: true, max_tokens: newTokens },
      }),
    });
    if (!response.ok || !response.body) throw new Error(await response.text());
    const arrivals: number[] = [];
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
      const events = text.match(/^data: \{/gm)?.length ?? 0;
      for (let i = 0; i < events; i++) arrivals.push((performance.now() - begin) / 1000);
    }
    return arrivals.slice(0, newTokens);
  };
}

/** All numbers of streams in turn, round after round; the first round warms up. */
async function measure(
  by: Result["by"],
  ask: Ask,
  { streams, rounds, promptTokens }: Flags,
  vocabSize: number,
): Promise<Result[]> {
  const results = streams.map((count) => ({
    ...{ by, streams: count, rates: [] as number[] },
    ...{ firstToken: [] as number[], betweenTokens: [] as number[] },
  }));
  for (let round = 0; round <= rounds; round++) {
    for (const result of results) {
      const begin = performance.now();
      const all = await Promise.all(
        Array.from({ length: result.streams }, (_, i) => {
          const seed = round * 1000 + i;
          return ask(randomPrompt(promptTokens, vocabSize, seed), seed);
        }),
      );
      if (round === 0) continue;
      const seconds = (performance.now() - begin) / 1000;
      result.rates.push(all.reduce((sum, { length }) => sum + length, 0) / seconds);
      for (const arrivals of all) {
        result.firstToken.push(arrivals[0]);
        const gaps = arrivals.slice(1).map((time, i) => time - arrivals[i]);
        result.betweenTokens.push(...gaps);
      }
    }
  }
  return results;
}

/** Token ids from a linear congruential generator: the same in every run, another for each request. */
function randomPrompt(length: number, vocabSize: number, seed: number): number[] {
  let state = seed + 1;
  return Array.from({ length }, () => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return state % vocabSize;
  });
}

function summary({ by, streams, rates, firstToken, betweenTokens }: Result) {
  const seconds = (list: readonly number[]) => ({ p50: share(list, 0.5), p99: share(list, 0.99) });
  return {
    ...{ by, streams, tokensPerSecond: summarize(rates) },
    ...{ firstToken: seconds(firstToken), betweenTokens: seconds(betweenTokens) },
  };
}

function line(result: Result): string {
  const { by, streams, tokensPerSecond, firstToken, betweenTokens } = summary(result);
  const times = ({ p50, p99 }: { p50: number; p99: number }) =>
    `${formatSeconds(p50)} / ${formatSeconds(p99)}`;
  return `${by.padEnd(6)} ${String(streams).padStart(3)} streams: ${
    formatRatio(tokensPerSecond)
  } tokens/s, first token ${times(firstToken)}, between tokens ${times(betweenTokens)} (p50 / p99)`;
}

/** The smallest number that so large a share of the list does not exceed. */
function share(list: readonly number[], part: number): number {
  const sorted = list.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? NaN;
}

if (import.meta.main) {
  try {
    await serveBenchCommand().action(run).parseAsync(Deno.args, { from: "user" });
  } catch (error) {
    // Commander has already printed the error, or the help.
    if (error instanceof CommanderError) Deno.exit(error.exitCode === 0 ? 0 : 2);
    const hint = error instanceof MixlineError && error.hint ? `\n${error.hint}` : "";
    console.error(`${messageOf(error)}${hint}`);
    Deno.exit(error instanceof MixlineError ? error.exitCode : 1);
  }
  // The sockets of `fetch` would keep the process for a while.
  Deno.exit(0);
}
