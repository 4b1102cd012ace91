/**
 * Bodies of `POST /v1/responses`: texts, reasoning and calls of functions. Answers are not kept, so
 * what refers to an earlier one is refused.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  callerFields,
  type Named,
  refused,
  requestFields,
  samplingFields,
  toolChoice,
} from "./common.ts";

const textPart = z.strictObject({
  type: z.enum(["input_text", "output_text", "text"], {
    error: 'expected "input_text": images and files are not supported',
  }),
  text: z.string(),
  annotations: z.array(z.unknown()).optional(),
  logprobs: z.array(z.unknown()).optional(),
});

const texts = z.union([z.string(), z.array(textPart)], {
  error: "expected a text or a list of text parts: images and files are not supported",
});

const message = z.strictObject({
  type: z.literal("message").optional(),
  id: z.string().optional(),
  status: z.string().optional(),
  role: z.enum(["system", "developer", "user", "assistant"]),
  content: texts,
});

const functionCall = z.strictObject({
  type: z.literal("function_call"),
  id: z.string().optional(),
  status: z.string().optional(),
  call_id: z.string(),
  name: z.string(),
  arguments: z.string(),
});

const functionOutput = z.strictObject({
  type: z.literal("function_call_output"),
  id: z.string().optional(),
  status: z.string().optional(),
  call_id: z.string(),
  output: texts,
});

const reasoning = z.looseObject({ type: z.literal("reasoning") });

/** One entry of a conversation. */
export const inputItemSchema = z.union([message, functionCall, functionOutput, reasoning]);

/** The request. */
export const responsesRequestSchema = z.strictObject({
  model: requestFields.model,
  input: z.union([z.string(), z.array(inputItemSchema).min(1)]),
  instructions: z.string().nullish(),
  max_output_tokens: z.int().min(1).nullish(),
  temperature: samplingFields.temperature,
  top_p: samplingFields.top_p,
  stream: z.boolean().nullish(),
  tools: z.array(z.strictObject({
    type: z.literal("function", {
      error: 'expected "function": other kinds of tools are not supported',
    }),
    name: z.string().regex(/^[\w-]{1,64}$/),
    description: z.string().nullish(),
    parameters: z.record(z.string(), z.unknown()).nullish(),
    strict: z.boolean().nullish(),
  })).max(128).nullish(),
  tool_choice: toolChoice({ name: z.string() }, '{ type: "function", name }').nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  text: z.strictObject({
    format: z.discriminatedUnion("type", [
      z.strictObject({ type: z.literal("text") }),
      z.strictObject({ type: z.literal("json_object") }),
      z.strictObject({
        type: z.literal("json_schema"),
        name: z.string(),
        schema: z.record(z.string(), z.unknown()),
        description: z.string().optional(),
        strict: z.boolean().nullish(),
      }),
    ]).optional(),
  }).nullish(),
  reasoning: z.strictObject({
    effort: z.enum(["none", "minimal", "low", "medium", "high", "xhigh"]).nullish(),
    summary: z.null().optional(),
  }).nullish(),
  store: z.boolean().nullish().describe("accepted; answers are never kept"),
  metadata: z.record(z.string(), z.string()).nullish(),
  service_tier: requestFields.service_tier,
  ...callerFields,
  truncation: z.literal("disabled", { error: 'only "disabled" is supported' }).nullish(),
  previous_response_id: refused("answers are not kept; send the conversation as input"),
  conversation: refused("conversations are not kept; send the conversation as input"),
  background: z.literal(false, { error: "only false is supported" }).nullish(),
  include: z.array(z.string()).max(0, { error: "nothing further can be included" }).nullish(),
}).meta({ id: "ResponsesRequest" });

/** A parsed request. */
export type ResponsesRequest = Named<z.infer<typeof responsesRequestSchema>>;

/** The answer. */
export const responsesResponseSchema = z.looseObject({
  id: z.string(),
  object: z.literal("response"),
  created_at: z.int(),
  status: z.enum(["in_progress", "completed", "incomplete", "failed"]),
  model: z.string(),
  output: z.array(z.looseObject({ type: z.string() })),
  usage: z.object({
    input_tokens: z.int(),
    output_tokens: z.int(),
    total_tokens: z.int(),
  }).nullable(),
}).meta({ id: "Response" });
