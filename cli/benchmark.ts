/**
 * `deploy --benchmark`: tokens per second of prefill and decode, each run several times.
 *
 * @module
 */

import type { Engine, PhaseReport } from "../runtime/mod.ts";
import { formatRate, formatTable } from "./format.ts";

/**
 * What a benchmark reads when it is given no prompt. A few words repeated would choose the same few
 * experts again and again, whose weights then come from a cache.
 */
export const BENCHMARK_TEXT =
  "The harbour was quiet before sunrise, and only the baker's window showed a light. Far out, two " +
  "fishing boats crossed each other's wake; their captains raised a hand and said nothing. By noon " +
  "the market would be loud with prices, gulls and bicycle bells. A letter had arrived from the " +
  "north: seven pages about glaciers, a broken compass and a debt of 240 crowns. Nobody in the " +
  "village could read it except the schoolteacher, who translated as she went, skipping what she " +
  "thought too sad. In the evening the children drew maps of countries that do not exist, with " +
  "rivers of ink, railways, and one very small dragon.";

/** How a benchmark runs. */
export interface BenchmarkOptions {
  /** Token ids that are repeated to fill the prompt. */
  readonly prompt: Int32Array;
  /** Tokens of the prompt of each run. */
  readonly promptTokens: number;
  /** Tokens decoded in each run. */
  readonly newTokens: number;
  /** Measured runs; one more comes before them and is thrown away. */
  readonly runs: number;
  readonly signal: AbortSignal;
  /** Called after every run, the first one included. */
  readonly onRun?: (run: number, milliseconds: number) => void;
}

/** Speed of one phase over all runs. */
export interface Measurement {
  /** Tokens of one run. */
  readonly tokens: number;
  readonly n: number;
  /** Tokens per second. */
  readonly median: number;
  readonly slowest: number;
  readonly fastest: number;
  /** (fastest - slowest) / median. */
  readonly spread: number;
}

/** Result of {@linkcode benchmark}; JSON-safe. */
export interface BenchmarkResult {
  readonly device: string;
  readonly prefill: Measurement;
  readonly decode: Measurement;
}

/**
 * Measures an engine that does nothing else. Times are the engine's own, from the start of a step
 * until its tokens are on the host.
 */
export async function benchmark(
  engine: Engine,
  options: BenchmarkOptions,
): Promise<BenchmarkResult> {
  const { newTokens, runs, signal } = options;
  const prefills: PhaseReport[] = [];
  const decodes: PhaseReport[] = [];
  for (let run = 0; run <= runs; run++) {
    const filled = promptOf(run, options, engine.vocabSize);
    const start = performance.now();
    const before = engine.report.timings;
    const generation = engine.generate(filled, {
      maxNewTokens: newTokens,
      // Sampled, as greedy text soon repeats itself, and with it its experts; the same in each run.
      temperature: 1,
      topK: 0,
      topP: 1,
      seed: 1,
      ignoreEos: true,
      signal,
    });
    for await (const _ of generation);
    const after = engine.report.timings;
    options.onRun?.(run, performance.now() - start);
    // The first run compiles pipelines and fills caches.
    if (run === 0) continue;
    prefills.push(difference(before.prefill, after.prefill));
    decodes.push(difference(before.decode, after.decode));
  }
  return {
    device: engine.report.executor.description,
    prefill: measure(prefills),
    decode: measure(decodes),
  };
}

/**
 * The prompt of a run. Each begins elsewhere in the text and with a token of its own, whatever the text:
 * of a prompt whose beginning is known, the engine computes the rest alone.
 */
export function promptOf(
  run: number,
  { prompt, promptTokens }: Pick<BenchmarkOptions, "prompt" | "promptTokens">,
  vocabSize: number,
): Int32Array<ArrayBuffer> {
  return Int32Array.from(
    { length: promptTokens },
    (_, i) => i === 0 ? (prompt[0] + run) % vocabSize : prompt[(i + run) % prompt.length],
  );
}

/** The result as a table for people. */
export function formatBenchmark({ device, prefill, decode }: BenchmarkResult): string {
  const row = (name: string, { tokens, n, median, slowest, fastest, spread }: Measurement) => [
    name,
    String(tokens),
    String(n),
    formatRate(median),
    formatRate(slowest),
    formatRate(fastest),
    `${(spread * 100).toFixed(1)}%`,
  ];
  const table = formatTable([
    ["", "tokens", "n", "median tok/s", "slowest", "fastest", "spread"],
    row("prefill", prefill),
    row("decode", decode),
  ]);
  return `${device}\n${table}\n`;
}

function difference(before: PhaseReport, after: PhaseReport): PhaseReport {
  const tokens = after.tokens - before.tokens;
  const seconds = after.seconds - before.seconds;
  return { tokens, seconds, tokensPerSecond: tokens / seconds };
}

function measure(runs: readonly PhaseReport[]): Measurement {
  const rates = runs.map((run) => run.tokensPerSecond).sort((a, b) => a - b);
  const middle = rates.length / 2;
  const median = (rates[Math.floor(middle - 0.5)] + rates[Math.floor(middle)]) / 2;
  const [slowest, fastest] = [rates[0], rates[rates.length - 1]];
  return {
    tokens: runs[0].tokens,
    n: runs.length,
    median,
    slowest,
    fastest,
    spread: (fastest - slowest) / median,
  };
}
