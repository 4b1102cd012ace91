/**
 * `POST /v1/chat/completions`.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";
import type { ChatMessage, ToolCall } from "../../models/mod.ts";
import type { Admitted } from "../admission.ts";
import type { WireEnd, WireLogprobs, WireOptions, WirePiece } from "../engine/protocol.ts";
import { invalidField } from "../errors.ts";
import type { ChatRequest, chatResponseSchema } from "../schemas/chat.ts";
import { type ChoiceEvent, generateChoices } from "./choices.ts";
import type { FieldNames } from "./field_names.ts";
import { reasoningOptions, samplingOptions, withoutAbsent } from "./sampling.ts";
import { checkCanChat, now, type Service } from "./service.ts";
import type { ServerEvent } from "./sse.ts";
import { toolOptions } from "./tool_choice.ts";
import { NO_END, usageOf } from "./usage.ts";

type ChatResponse = z.infer<typeof chatResponseSchema>;
type Choice = ChatResponse["choices"][number];

/** A checked request, to be answered as a document or as a stream. */
export interface PreparedChat {
  readonly messages: readonly ChatMessage[];
  readonly options: WireOptions;
  readonly n: number;
  readonly names: FieldNames;
}

/** Checks what schemas cannot and makes the engine's request. */
export function prepareChat(service: Service, request: ChatRequest): PreparedChat {
  checkCanChat(service, "messages");
  if (request.top_logprobs && !request.logprobs) {
    throw invalidField(
      "top_logprobs",
      "Cannot give top_logprobs: expected logprobs true, got none",
    );
  }
  const { max_completion_tokens, max_tokens } = request;
  return {
    messages: request.messages,
    n: request.n ?? 1,
    names: namesOf(request),
    options: {
      ...samplingOptions(request, max_completion_tokens ?? max_tokens),
      ...(request.logprobs && { logprobs: request.top_logprobs ?? 0 }),
      ...chatOptions(request),
    },
  };
}

/** What the client calls the engine's options. */
function namesOf({ max_completion_tokens, chat_template_kwargs }: ChatRequest): FieldNames {
  const variables = Object.keys(chat_template_kwargs ?? {});
  return {
    prompt: "messages",
    maxNewTokens: typeof max_completion_tokens === "number"
      ? "max_completion_tokens"
      : "max_tokens",
    thinking: "reasoning_effort",
    ...Object.fromEntries(variables.map((name) => [name, `chat_template_kwargs.${name}`])),
  };
}

/** Tools and template variables. */
function chatOptions(request: ChatRequest): WireOptions {
  const { tools, tool_choice: choice, parallel_tool_calls: parallel } = request;
  const { reasoning_effort, chat_template_kwargs, response_format } = request;
  const named = typeof choice === "object" && choice !== null ? choice.function : choice;
  return withoutAbsent({
    ...toolOptions({ tools, choice: named, parallel }),
    ...reasoningOptions(reasoning_effort, chat_template_kwargs),
    responseFormat: response_format?.type === "text" ? undefined : response_format,
  });
}

/** Answers as one document. */
export async function answerChat(
  service: Service,
  id: string,
  request: ChatRequest,
  prepared: PreparedChat,
  admitted: Admitted,
): Promise<ChatResponse> {
  const choices = Array.from({ length: prepared.n }, () => new GrowingChoice(id));
  for await (const event of run(service, prepared, admitted)) choices[event.index].take(event);
  const ends = choices.map(({ end }) => end);
  return {
    ...header(id, "chat.completion", request.model),
    choices: choices.map((choice, index) => choice.finish(index, request.logprobs === true)),
    usage: usageOf(ends, prepared.n),
  };
}

/** Answers as a stream of chunks. */
export async function* streamChat(
  service: Service,
  id: string,
  request: ChatRequest,
  prepared: PreparedChat,
  admitted: Admitted,
): AsyncGenerator<ServerEvent, void> {
  const head = header(id, "chat.completion.chunk", request.model);
  const chunk = (index: number, delta: object, rest: object = {}) => ({
    data: {
      ...head,
      choices: [{ index, delta, logprobs: null, finish_reason: null, ...rest }],
    },
  });
  const calls = Array.from({ length: prepared.n }, () => 0);
  const begun = new Set<number>();
  const ends: WireEnd[] = [];
  for await (const event of run(service, prepared, admitted)) {
    const { index } = event;
    if (!begun.has(index)) yield chunk(index, { role: "assistant", content: "" });
    begun.add(index);
    if (event.kind === "end") {
      ends.push(event.end);
      yield chunk(index, {}, { finish_reason: finishReason(event.end, calls[index]) });
      continue;
    }
    const { text, reasoning, toolCalls, logprobs } = event.piece;
    const delta = withoutAbsent({
      content: text === "" ? undefined : text,
      reasoning_content: reasoning,
      tool_calls: toolCalls?.map((call) => {
        const number = calls[index]++;
        return { index: number, ...wireCall(id, index, number, call) };
      }),
    });
    if (Object.keys(delta).length === 0 && !logprobs) continue;
    yield chunk(index, delta, logprobs && { logprobs: { content: [logprobOf(logprobs)] } });
  }
  if (request.stream_options?.include_usage) {
    yield { data: { ...head, choices: [], usage: usageOf(ends, prepared.n) } };
  }
}

function run(
  service: Service,
  { messages, options, n, names }: PreparedChat,
  { signal }: Admitted,
): AsyncGenerator<ChoiceEvent, void> {
  const { engine } = service.supervisor;
  return generateChoices(
    engine,
    { prompts: [messages], options, n, signal, names },
    service.metrics,
  );
}

/** One choice, gathered. */
class GrowingChoice {
  #content = "";
  #reasoning = "";
  readonly #calls: ToolCall[] = [];
  readonly #logprobs: WireLogprobs[] = [];
  end = NO_END;

  constructor(readonly id: string) {}

  take(event: ChoiceEvent): void {
    if (event.kind === "end") this.end = event.end;
    else this.#add(event.piece);
  }

  finish(index: number, withLogprobs: boolean): Choice {
    const calls = this.#calls.map((call, number) => wireCall(this.id, index, number, call));
    return {
      index,
      message: {
        role: "assistant",
        content: calls.length > 0 && this.#content === "" ? null : this.#content,
        ...(this.#reasoning && { reasoning_content: this.#reasoning }),
        ...(calls.length > 0 && { tool_calls: calls }),
        refusal: null,
      },
      logprobs: withLogprobs ? { content: this.#logprobs.map(logprobOf) } : null,
      finish_reason: finishReason(this.end, calls.length),
    };
  }

  #add({ text, reasoning, toolCalls, logprobs }: WirePiece): void {
    this.#content += text;
    this.#reasoning += reasoning ?? "";
    if (toolCalls) this.#calls.push(...toolCalls);
    if (logprobs) this.#logprobs.push(logprobs);
  }
}

function header<Kind extends string>(id: string, object: Kind, model: string) {
  return { id, object, created: now(), model, system_fingerprint: "mixline" };
}

function finishReason({ finishReason }: WireEnd, calls: number): Choice["finish_reason"] {
  return calls > 0 && finishReason === "stop" ? "tool_calls" : finishReason;
}

function wireCall(id: string, choice: number, number: number, call: ToolCall) {
  return {
    id: `call_${id.slice(-12)}_${choice}_${number}`,
    type: "function" as const,
    function: { name: call.name, arguments: JSON.stringify(call.arguments) },
  };
}

function logprobOf({ top, ...drawn }: WireLogprobs) {
  const entry = ({ token, logprob, bytes }: Omit<WireLogprobs, "top">) => ({
    token,
    logprob,
    bytes: bytes && [...bytes],
  });
  return { ...entry(drawn), top_logprobs: top.map(entry) };
}
