/**
 * The `n` choices of a request as one stream, measured on its way.
 *
 * @module
 */

import type { EngineProcess, GenerationEvent } from "../engine/engine_process.ts";
import type { WireOptions, WirePrompt } from "../engine/protocol.ts";
import type { ServerMetrics } from "../metrics.ts";
import { type FieldNames, inNamesOf } from "./field_names.ts";
import { mergeStreams } from "./merge_streams.ts";

/** An event of one choice. */
export type ChoiceEvent = GenerationEvent & {
  /** Number of the choice. */
  readonly index: number;
};

/** What to generate. */
export interface ChoiceRequest {
  readonly prompts: readonly WirePrompt[];
  readonly options: WireOptions;
  /** Choices of each prompt. */
  readonly n: number;
  readonly signal: AbortSignal;
  /** What errors call the fields of the request. */
  readonly names: FieldNames;
}

/**
 * Generates all choices side by side. Events come in the order in which they happen; the first error
 * of any choice ends all.
 */
export async function* generateChoices(
  engine: EngineProcess,
  { prompts, options, n, signal, names }: ChoiceRequest,
  metrics: ServerMetrics,
): AsyncGenerator<ChoiceEvent, void> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const streams = prompts.flatMap((prompt, which) =>
    Array.from({ length: n }, (_, choice) => {
      const index = which * n + choice;
      const seeded = options.seed === undefined
        ? options
        : { ...options, seed: nextSeed(options.seed, index) };
      return measured(engine.generate(prompt, seeded, either), index, metrics);
    })
  );
  try {
    yield* mergeStreams(streams);
  } catch (error) {
    // An interruption by a deadline or by the client is reported with its reason.
    throw signal.aborted ? signal.reason : inNamesOf(names, error);
  } finally {
    stop.abort();
  }
}

function nextSeed(seed: number, index: number): number {
  return (seed + index) % 2 ** 32;
}

async function* measured(
  events: AsyncGenerator<GenerationEvent, void>,
  index: number,
  metrics: ServerMetrics,
): AsyncGenerator<ChoiceEvent, void> {
  let last = performance.now();
  let isFirst = true;
  for await (const event of events) {
    const now = performance.now();
    if (event.kind === "piece") {
      (isFirst ? metrics.firstToken : metrics.perToken).observe((now - last) / 1000);
      isFirst = false;
      last = now;
    } else {
      metrics.promptTokens.inc(event.end.promptTokens);
      metrics.completionTokens.inc(event.end.completionTokens);
    }
    yield { ...event, index };
  }
}
