/**
 * `POST /v1/responses`.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";
import type { ChatMessage } from "../../models/mod.ts";
import type { Admitted } from "../admission.ts";
import type { WireEnd, WireOptions } from "../engine/protocol.ts";
import { errorAnswer } from "../errors.ts";
import type { inputItemSchema, ResponsesRequest } from "../schemas/responses.ts";
import { generateChoices } from "./choices.ts";
import type { FieldNames } from "./field_names.ts";
import { ResponseOutput } from "./response_output.ts";
import { reasoningOptions, samplingOptions, withoutAbsent } from "./sampling.ts";
import { checkCanChat, now, type Service } from "./service.ts";
import type { ServerEvent } from "./sse.ts";
import { toolOptions } from "./tool_choice.ts";

/** What this API calls the engine's options. */
const NAMES: FieldNames = {
  prompt: "input",
  maxNewTokens: "max_output_tokens",
  thinking: "reasoning.effort",
  reasoning_effort: "reasoning.effort",
  response_format: "text.format",
};

/** A request that was understood. */
export interface PreparedResponse {
  readonly messages: readonly ChatMessage[];
  readonly options: WireOptions;
}

/** Checks what schemas cannot and makes the engine's request. */
export function prepareResponse(service: Service, request: ResponsesRequest): PreparedResponse {
  checkCanChat(service, "input");
  const { instructions, input, tools, tool_choice: choice, reasoning, text } = request;
  const said = typeof input === "string"
    ? [{ role: "user", content: input }]
    : input.flatMap(messageOf);
  const format = text?.format;
  return {
    messages: instructions ? [{ role: "system", content: instructions }, ...said] : said,
    options: {
      ...samplingOptions(request, request.max_output_tokens),
      ...withoutAbsent({
        ...toolOptions({
          tools: tools?.map(chatTool),
          choice,
          parallel: request.parallel_tool_calls,
        }),
        ...reasoningOptions(reasoning?.effort),
        responseFormat: format?.type === "json_schema"
          ? { type: format.type, json_schema: { name: format.name, schema: format.schema } }
          : format?.type === "json_object"
          ? { type: format.type }
          : undefined,
      }),
    },
  };
}

/** Answers as one document. */
export async function answerResponse(
  service: Service,
  id: string,
  request: ResponsesRequest,
  prepared: PreparedResponse,
  admitted: Admitted,
) {
  const output = new ResponseOutput(id);
  let end: WireEnd | undefined;
  for await (const event of run(service, prepared, admitted)) {
    if (event.kind === "end") end = event.end;
    else for (const _ of output.take(event.piece));
  }
  for (const _ of output.finish());
  return response(id, request, end, output.items);
}

/** Answers as a stream of typed events, numbered in their order. */
export async function* streamResponse(
  service: Service,
  id: string,
  request: ResponsesRequest,
  prepared: PreparedResponse,
  admitted: Admitted,
): AsyncGenerator<ServerEvent, void> {
  let sequence_number = 0;
  const numbered = (type: string, fields: object): ServerEvent => ({
    event: type,
    data: { type, sequence_number: sequence_number++, ...fields },
  });
  const output = new ResponseOutput(id);
  const begun = response(id, request, undefined, []);
  let end: WireEnd | undefined;
  for await (const event of run(service, prepared, admitted)) {
    if (sequence_number === 0) {
      yield numbered("response.created", { response: begun });
      yield numbered("response.in_progress", { response: begun });
    }
    if (event.kind === "end") end = event.end;
    else for (const { type, ...fields } of output.take(event.piece)) yield numbered(type, fields);
  }
  for (const { type, ...fields } of output.finish()) yield numbered(type, fields);
  const whole = { ...response(id, request, end, output.items), created_at: begun.created_at };
  yield numbered(`response.${whole.status}`, { response: whole });
}

/** The event of an error that came in the middle of a stream. */
export function responseError(error: unknown, eventsBefore: number): ServerEvent {
  const { message, code, param } = errorAnswer(error).body.error;
  const fields = { code, message, param, sequence_number: eventsBefore };
  return { event: "error", data: { type: "error", ...fields } };
}

function run(service: Service, { messages, options }: PreparedResponse, { signal }: Admitted) {
  const { engine } = service.supervisor;
  const request = { prompts: [messages], options, n: 1, signal, names: NAMES };
  return generateChoices(engine, request, service.metrics);
}

function response(
  id: string,
  request: ResponsesRequest,
  end: WireEnd | undefined,
  output: ResponseOutput["items"],
) {
  const cut = end?.finishReason === "length";
  const usage = end && {
    input_tokens: end.promptTokens,
    input_tokens_details: { cached_tokens: end.reusedTokens },
    output_tokens: end.completionTokens,
    output_tokens_details: { reasoning_tokens: end.reasoningTokens },
    total_tokens: end.promptTokens + end.completionTokens,
  };
  return {
    id,
    object: "response" as const,
    created_at: now(),
    status: end === undefined
      ? "in_progress" as const
      : cut
      ? "incomplete" as const
      : "completed" as const,
    incomplete_details: cut ? { reason: "max_output_tokens" } : null,
    error: null,
    model: request.model,
    instructions: request.instructions ?? null,
    max_output_tokens: request.max_output_tokens ?? null,
    metadata: request.metadata ?? {},
    output,
    parallel_tool_calls: request.parallel_tool_calls ?? true,
    previous_response_id: null,
    reasoning: { effort: request.reasoning?.effort ?? null, summary: null },
    store: false,
    temperature: request.temperature ?? null,
    text: { format: request.text?.format ?? { type: "text" } },
    tool_choice: request.tool_choice ?? "auto",
    tools: request.tools ?? [],
    top_p: request.top_p ?? null,
    truncation: "disabled",
    usage: usage ?? null,
  };
}

/** An entry of the input as a message of a chat. What the model thought before is not said again. */
function messageOf(item: z.infer<typeof inputItemSchema>): ChatMessage[] {
  switch (item.type) {
    case "function_call":
      return [{
        role: "assistant",
        content: null,
        tool_calls: [{
          id: item.call_id,
          type: "function",
          function: { name: item.name, arguments: item.arguments },
        }],
      }];
    case "function_call_output":
      return [{ role: "tool", tool_call_id: item.call_id, content: item.output }];
    case "reasoning":
      return [];
    default:
      return [{ role: item.role, content: item.content }];
  }
}

function chatTool(
  { name, description, parameters }: NonNullable<ResponsesRequest["tools"]>[number],
) {
  return { type: "function", function: { name, ...withoutAbsent({ description, parameters }) } };
}
