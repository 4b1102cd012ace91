/**
 * Fields that several requests share, with OpenAI's names and meaning. Objects are strict: a field
 * that is not listed is refused by name, and so is a listed one with a value that has no effect here.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";

/** A field that clients send and that changes nothing when it has this one value. */
export function only<Value extends string | number | boolean>(value: Value, why: string) {
  return z.literal(value, { error: `only ${JSON.stringify(value)} is supported: ${why}` })
    .nullish();
}

/** A field that OpenAI's API has and this server does not. */
export function refused(why: string) {
  const error = `not supported: ${why}`;
  return z.unknown().refine((value) => value === undefined, { error }).optional().describe(error);
}

/**
 * Whether the model may, must or must not call tools, or which one it must: `named` are the fields that
 * name it, which errors show as `shown`.
 */
export function toolChoice<Named extends z.ZodRawShape>(named: Named, shown: string) {
  return z.union([
    z.enum(["none", "auto", "required"]),
    z.strictObject({
      type: z.literal("function", {
        error: 'expected "function": other choices are not supported',
      }),
      ...named,
    }),
  ], {
    error: `expected "none", "auto", "required" or ${shown}; other choices are not supported`,
  });
}

const penalty = z.number().min(-2).max(2);

/** How tokens are drawn. */
export const samplingFields = {
  temperature: z.number().min(0).max(2).nullish().describe("0 is greedy; default the model's own"),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(-1).nullish().describe("-1 and 0 take every token"),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().min(0.01).max(100).nullish(),
  presence_penalty: penalty.nullish(),
  frequency_penalty: penalty.nullish(),
  seed: z.int().nullish().describe(
    "the same seed draws the same tokens; n choices take seed, seed + 1, ...",
  ),
  stop: z.union([z.string().min(1), z.array(z.string().min(1)).max(16)]).nullish(),
  logit_bias: z.record(
    z.string().regex(/^\d+$/, "expected a token id"),
    z.number().min(-100).max(100),
  ).nullish(),
  n: z.int().min(1).max(16).nullish(),
  ignore_eos: z.boolean().nullish().describe("go on after an end token"),
};

/** A request whose model is known, named by the client or not. */
export type Named<Request> = Omit<Request, "model"> & { readonly model: string };

const accepted = z.string().nullish().describe("accepted, without effect");

/** Whom a request comes from, and what it is like: what a service with accounts asks for. */
export const callerFields = {
  user: accepted,
  safety_identifier: accepted,
  prompt_cache_key: accepted.describe("accepted; prompts that begin alike share pages unasked"),
};

/** Fields about the request rather than the text. */
export const requestFields = {
  ...callerFields,
  model: z.string().min(1).nullish()
    .describe("one of GET /v1/models; left out, the model that is served"),
  stream: z.boolean().nullish(),
  stream_options: z.strictObject({ include_usage: z.boolean().nullish() }).nullish(),
  metadata: z.record(z.string(), z.string()).nullish().describe("accepted, not kept"),
  service_tier: z.enum(["auto", "default"]).nullish(),
  store: only(false, "answers are not kept"),
};

/** Options of a stream stand beside `stream: true`; alone they would have no effect. */
export function hasStreamForOptions(
  { stream, stream_options }: { readonly stream?: unknown; readonly stream_options?: unknown },
): boolean {
  return stream === true || stream_options === undefined || stream_options === null;
}

/** What is wrong with others. */
export const NO_STREAM = { error: "expected stream: true beside it", path: ["stream_options"] };

/** What a finished request has used. */
export const usageSchema = z.object({
  prompt_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  prompt_tokens_details: z.object({
    cached_tokens: z.int().describe("those that the cache had from a request that began alike"),
  }),
  completion_tokens_details: z.object({
    reasoning_tokens: z.int().describe("those that the model thought"),
  }),
}).meta({ id: "Usage" });

/** An error as OpenAI's clients read it. */
export const errorSchema = z.object({
  error: z.object({
    message: z.string(),
    type: z.string(),
    param: z.string().nullable(),
    code: z.string().nullable(),
  }),
}).meta({ id: "Error" });
