/**
 * Bodies of `POST /v1/chat/completions`.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import {
  hasStreamForOptions,
  type Named,
  NO_STREAM,
  only,
  refused,
  requestFields,
  samplingFields,
  toolChoice,
  usageSchema,
} from "./common.ts";

const textPart = z.strictObject({
  type: z.literal("text", {
    error: 'expected "text": images, sounds and files are not supported',
  }),
  text: z.string(),
});

const content = z.union([z.string(), z.array(textPart)], {
  error: "expected a text or a list of text parts: images, sounds and files are not supported",
});

/** A call of a tool, as an assistant's message has it. */
export const toolCallSchema = z.object({
  id: z.string(),
  type: z.literal("function"),
  function: z.object({ name: z.string(), arguments: z.string().describe("JSON") }),
}).meta({ id: "ToolCall" });

const messageSchema = z.discriminatedUnion("role", [
  z.strictObject({ role: z.literal("system"), content, name: z.string().optional() }),
  z.strictObject({ role: z.literal("developer"), content, name: z.string().optional() }),
  z.strictObject({ role: z.literal("user"), content, name: z.string().optional() }),
  z.strictObject({
    role: z.literal("assistant"),
    content: content.nullish(),
    name: z.string().optional(),
    reasoning_content: z.string().nullish(),
    reasoning: z.string().nullish(),
    tool_calls: z.array(toolCallSchema).nullish(),
    refusal: z.null().optional(),
  }),
  z.strictObject({
    role: z.literal("tool"),
    content,
    tool_call_id: z.string(),
    name: z.string().optional(),
  }),
]).meta({ id: "ChatMessage" });

/** A tool that the model may call. */
export const toolSchema = z.strictObject({
  type: z.literal("function", {
    error: 'expected "function": other kinds of tools are not supported',
  }),
  function: z.strictObject({
    name: z.string().regex(/^[\w-]{1,64}$/, "expected 1 to 64 letters, digits, _ or -"),
    description: z.string().optional(),
    parameters: z.record(z.string(), z.unknown()).optional(),
    strict: z.boolean().nullish(),
  }),
}).meta({ id: "Tool" });

/** Which tools the model may or must call. */
export const toolChoiceSchema = toolChoice(
  { function: z.strictObject({ name: z.string() }) },
  '{ type: "function", function: { name } }',
);

/** What form the answer has. */
export const responseFormatSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    json_schema: z.strictObject({
      name: z.string(),
      description: z.string().optional(),
      schema: z.record(z.string(), z.unknown()),
      strict: z.boolean().nullish(),
    }),
  }),
]);

/** The request. */
export const chatRequestSchema = z.strictObject({
  ...requestFields,
  ...samplingFields,
  messages: z.array(messageSchema).min(1),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  tools: z.array(toolSchema).min(1).max(128).nullish(),
  tool_choice: toolChoiceSchema.nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  response_format: responseFormatSchema.nullish(),
  reasoning_effort: z.enum(["none", "minimal", "low", "medium", "high", "xhigh"]).nullish(),
  chat_template_kwargs: z.record(z.string(), z.unknown()).nullish()
    .describe("variables of the chat template, such as enable_thinking"),
  verbosity: only("medium", "ask for few or many words in a message"),
  modalities: z.array(only("text", "the model writes text alone")).nullish(),
  audio: refused("the model writes text alone"),
  functions: refused("use tools"),
  function_call: refused("use tool_choice"),
  prediction: refused("it would not be faster"),
  web_search_options: refused("the server does not access other machines"),
}).refine(hasStreamForOptions, NO_STREAM).meta({ id: "ChatCompletionRequest" });

/** A parsed request. */
export type ChatRequest = Named<z.infer<typeof chatRequestSchema>>;

const tokenLogprob = z.object({
  token: z.string(),
  logprob: z.number(),
  bytes: z.array(z.int()).nullable(),
});

/** Log-probabilities of a choice's tokens. */
export const chatLogprobsSchema = z.object({
  content: z.array(tokenLogprob.extend({ top_logprobs: z.array(tokenLogprob) })).nullable(),
});

/** Why a choice ended. */
export const finishReasonSchema = z.enum(["stop", "length", "tool_calls"]);

/** The answer, not streamed. */
export const chatResponseSchema = z.object({
  id: z.string(),
  object: z.literal("chat.completion"),
  created: z.int(),
  model: z.string(),
  choices: z.array(z.object({
    index: z.int(),
    message: z.object({
      role: z.literal("assistant"),
      content: z.string().nullable(),
      reasoning_content: z.string().optional(),
      tool_calls: z.array(toolCallSchema).optional(),
      refusal: z.null(),
    }),
    logprobs: chatLogprobsSchema.nullable(),
    finish_reason: finishReasonSchema,
  })),
  usage: usageSchema,
  system_fingerprint: z.string(),
}).meta({ id: "ChatCompletion" });
