/**
 * `generation_config.json`: the default sampling settings of a model, and the tokens that end a text.
 *
 * @module
 */

import { join } from "node:path";
import { z } from "../../deps/zod.ts";
import { CheckpointError, type SamplingDefaults } from "../../graph/mod.ts";
import { type ModelConfig, tokenIdsSchema } from "./hf_config.ts";
import { readOptionalJson } from "../checkpoint/json_file.ts";

/** Defaults of a generation. */
export interface GenerationConfig extends SamplingDefaults {
  /** Tokens that end a text. */
  readonly eosTokenIds: readonly number[];
  /** Most tokens to generate, where the file says so. */
  readonly maxNewTokens: number | undefined;
}

const FILE = "generation_config.json";

const schema = z.looseObject({
  do_sample: z.boolean().nullish(),
  temperature: z.number().nonnegative().nullish(),
  top_k: z.int().nonnegative().nullish(),
  top_p: z.number().positive().max(1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().positive().nullish(),
  eos_token_id: tokenIdsSchema,
  max_new_tokens: z.int().positive().nullish(),
});

/**
 * Reads the defaults of a model folder. Without `do_sample: true` they are greedy, as in
 * transformers; a value left out does not restrict. End tokens are those of this file, of config.json
 * and of the tokenizer together: models are published in which one of them lacks the token that ends
 * a turn.
 */
export async function readGenerationConfig(
  folder: string,
  config: Pick<ModelConfig, "eos_token_id">,
  tokenizerEos?: number,
): Promise<GenerationConfig> {
  const path = join(folder, FILE);
  const parsed = schema.safeParse(await readOptionalJson(path) ?? {});
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new CheckpointError(
      "checkpoint/generation-config",
      `Cannot read generation config "${path}": expected a fitting value for key "${
        issue.path.join(".")
      }", got: ${issue.message}`,
      { hint: `Correct the key, or remove ${FILE}`, details: { path } },
    );
  }
  const { data } = parsed;
  const eos = [
    data.eos_token_id,
    config.eos_token_id,
    tokenizerEos === undefined ? [] : [tokenizerEos],
  ];
  return {
    temperature: data.do_sample ? data.temperature ?? 1 : 0,
    topK: data.do_sample ? data.top_k ?? 0 : 0,
    topP: data.do_sample ? data.top_p ?? 1 : 1,
    minP: data.do_sample ? data.min_p ?? 0 : 0,
    repetitionPenalty: data.repetition_penalty ?? 1,
    eosTokenIds: [...new Set(eos.flat())],
    maxNewTokens: data.max_new_tokens ?? undefined,
  };
}
