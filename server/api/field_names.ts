/**
 * Errors of the engine name its own options; a client must read the name of the field that it sent.
 *
 * @module
 */

import { EngineError } from "../engine/engine_error.ts";

/**
 * What an API calls the parts of a call: by `prompt`, by an option of the engine such as
 * `maxNewTokens`, or by a variable of the chat template. A name that is not listed is the same.
 */
export type FieldNames = Readonly<Record<string, string>>;

/** Options that all APIs call the same. */
const SHARED: FieldNames = {
  topK: "top_k",
  topP: "top_p",
  minP: "min_p",
  repetitionPenalty: "repetition_penalty",
  presencePenalty: "presence_penalty",
  frequencyPenalty: "frequency_penalty",
  logitBias: "logit_bias",
  ignoreEos: "ignore_eos",
};

/** The error with the names of an API, in `param` and in its words. */
export function inNamesOf(names: FieldNames, error: unknown): unknown {
  if (!(error instanceof EngineError) || typeof error.details.param !== "string") return error;
  const { param: given } = error.details;
  const known: FieldNames = { ...SHARED, ...names };
  const param = Object.hasOwn(known, given) ? known[given] : given;
  return error.about(
    param,
    (text) =>
      text.replaceAll(`"${given}"`, `"${param}"`)
        .replaceAll(/\bmaxNewTokens\b/g, known.maxNewTokens ?? "max_tokens"),
  );
}
