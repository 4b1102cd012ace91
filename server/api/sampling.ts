/**
 * From the fields of a request to the engine's options.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";
import type { WireOptions } from "../engine/protocol.ts";
import type { samplingFields } from "../schemas/common.ts";

/** The sampling fields of a parsed request. */
export type SamplingRequest = {
  readonly [Name in keyof typeof samplingFields]?: z.infer<(typeof samplingFields)[Name]>;
};

/** Options for the engine; what the request leaves open stays open, for the model's own defaults. */
export function samplingOptions(
  request: SamplingRequest,
  maxNewTokens: number | null | undefined,
): WireOptions {
  const { top_k, seed } = request;
  return withoutAbsent({
    maxNewTokens,
    temperature: request.temperature,
    topP: request.top_p,
    topK: top_k === -1 ? 0 : top_k,
    minP: request.min_p,
    repetitionPenalty: request.repetition_penalty,
    presencePenalty: request.presence_penalty,
    frequencyPenalty: request.frequency_penalty,
    // Seeds of OpenAI's API may be negative or of 64 bits; the engine's have 32.
    seed: typeof seed === "number" ? ((seed % 2 ** 32) + 2 ** 32) % 2 ** 32 : undefined,
    stop: request.stop,
    logitBias: request.logit_bias,
    ignoreEos: request.ignore_eos,
  });
}

/**
 * How much the model is to think. `none` uses the template's own switch, under whichever name it has
 * it; other efforts are the variable that templates read. A template without one refuses it by name.
 */
export function reasoningOptions(
  effort: string | null | undefined,
  variables?: Readonly<Record<string, unknown>> | null,
): Pick<WireOptions, "thinking" | "templateVariables"> {
  if (effort === "none") {
    return { thinking: false, ...(variables && { templateVariables: variables }) };
  }
  if (!effort && !variables) return {};
  return { templateVariables: { ...(effort && { reasoning_effort: effort }), ...variables } };
}

type Present<Fields> = { [Name in keyof Fields]?: NonNullable<Fields[Name]> };

/** The fields that are neither null nor undefined. */
export function withoutAbsent<Fields extends object>(fields: Fields): Present<Fields> {
  const present: Present<Fields> = {};
  for (const name of keysOf(fields)) {
    const value = fields[name];
    if (value !== null && value !== undefined) present[name] = value;
  }
  return present;
}

function keysOf<Fields extends object>(fields: Fields): (keyof Fields)[] {
  const names: (keyof Fields)[] = [];
  for (const name in fields) names.push(name);
  return names;
}
