/**
 * Bodies of `POST /v1/completions`.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  hasStreamForOptions,
  type Named,
  NO_STREAM,
  only,
  requestFields,
  samplingFields,
  usageSchema,
} from "./common.ts";

const tokenIds = z.array(z.int().min(0)).min(1);

/** The request. */
export const completionRequestSchema = z.strictObject({
  ...requestFields,
  ...samplingFields,
  prompt: z.union([
    z.string(),
    z.array(z.string()).min(1).max(64),
    tokenIds,
    z.array(tokenIds).min(1).max(64),
  ], { error: "expected a text, token ids, or a list of 1 to 64 of either" })
    .describe("a text, token ids, or a list of either"),
  max_tokens: z.int().min(1).nullish(),
  logprobs: z.int().min(0).max(20).nullish(),
  echo: z.boolean().nullish().describe("put the prompt before the answer; not with logprobs"),
  best_of: only(1, "choices are not ranked; use n"),
  suffix: only("", "the model continues texts, it fills no gaps"),
}).refine(hasStreamForOptions, NO_STREAM).meta({ id: "CompletionRequest" });

/** A parsed request. */
export type CompletionRequest = Named<z.infer<typeof completionRequestSchema>>;

/** The answer, not streamed. */
export const completionResponseSchema = z.object({
  id: z.string(),
  object: z.literal("text_completion"),
  created: z.int(),
  model: z.string(),
  choices: z.array(z.object({
    index: z.int(),
    text: z.string(),
    finish_reason: z.enum(["stop", "length"]),
    logprobs: z.object({
      tokens: z.array(z.string()),
      token_logprobs: z.array(z.number()),
      top_logprobs: z.array(z.record(z.string(), z.number())).nullable(),
      text_offset: z.array(z.int()),
    }).nullable(),
  })),
  usage: usageSchema,
  system_fingerprint: z.string(),
}).meta({ id: "Completion" });
