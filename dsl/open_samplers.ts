/**
 * Opens the samplers of a graph for its model, before weights are uploaded.
 *
 * @module
 */

import {
  ConfigError,
  type Graph,
  messageOf,
  MixlineError,
  type SamplerContext,
  samplersOf,
} from "../graph/mod.ts";
import type { Model } from "../models/mod.ts";
import type { OpenedSampler } from "../runtime/mod.ts";

/**
 * The samplers that transforms have left, in the order they are asked.
 *
 * @throws {ConfigError} `config/sampler` with the key of the first one that does not open.
 */
export function openSamplers(graph: Graph, model: Model): OpenedSampler[] {
  const samplers = samplersOf(graph);
  if (samplers.length === 0) return [];
  const vocabSize = Number(graph.outputs.get("logits")?.shape[1]);
  const { tokenizer, generation } = model;
  const context: SamplerContext = {
    vocabSize,
    texts: tokenizer.unavailable ? [] : tokenizer.vocabulary(vocabSize).texts,
    endTokens: generation.eosTokenIds,
  };
  return samplers.map(({ key, open }) => {
    try {
      const start = open(context);
      if (typeof start === "function") return { key, start };
      throw samplerError(key, `expected open() to give a function, got ${typeof start}`);
    } catch (cause) {
      if (cause instanceof MixlineError) throw cause;
      throw samplerError(key, messageOf(cause), cause);
    }
  });
}

function samplerError(key: string, problem: string, cause?: unknown): ConfigError {
  return new ConfigError("config/sampler", `Cannot open sampler "${key}": ${problem}`, {
    hint: "Mend the sampler, or disable it",
    details: { sampler: key },
    cause,
  });
}
