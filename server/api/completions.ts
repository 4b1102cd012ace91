/**
 * `POST /v1/completions`.
 *
 * @module
 */

import type { z } from "../../deps/zod.ts";
import type { Admitted } from "../admission.ts";
import type { WireEnd, WireLogprobs, WireOptions, WirePrompt } from "../engine/protocol.ts";
import { invalidField } from "../errors.ts";
import type { CompletionRequest, completionResponseSchema } from "../schemas/completion.ts";
import { type ChoiceEvent, generateChoices } from "./choices.ts";
import { samplingOptions } from "./sampling.ts";
import { now, type Service } from "./service.ts";
import type { ServerEvent } from "./sse.ts";
import { NO_END, usageOf } from "./usage.ts";

type CompletionResponse = z.infer<typeof completionResponseSchema>;
type Logprobs = CompletionResponse["choices"][number]["logprobs"];

/** OpenAI's default for this endpoint. */
const DEFAULT_TOKENS = 16;

/** A checked request. */
export interface PreparedCompletion {
  readonly prompts: readonly (string | readonly number[])[];
  readonly options: WireOptions;
  readonly n: number;
}

/** Checks what schemas cannot and makes the engine's requests. */
export function prepareCompletion(request: CompletionRequest): PreparedCompletion {
  const { prompt, logprobs, echo } = request;
  if (echo && typeof logprobs === "number") {
    throw invalidField(
      "echo",
      "Cannot echo the prompt with logprobs: expected one of both, got both",
    );
  }
  return {
    prompts: promptsOf(prompt),
    n: request.n ?? 1,
    options: {
      ...samplingOptions(request, request.max_tokens ?? DEFAULT_TOKENS),
      ...(typeof logprobs === "number" && { logprobs }),
    },
  };
}

/** Answers as one document. */
export async function answerCompletion(
  service: Service,
  id: string,
  request: CompletionRequest,
  prepared: PreparedCompletion,
  admitted: Admitted,
): Promise<CompletionResponse> {
  const echoes = await echoesOf(service, request, prepared);
  const choices = echoes.map((text) => ({ text, logprobs: new TokenLog(), end: NO_END }));
  for await (const event of run(service, prepared, admitted)) {
    const choice = choices[event.index];
    if (event.kind === "end") choice.end = event.end;
    else {
      if (event.piece.logprobs) choice.logprobs.add(event.piece.logprobs);
      choice.text += event.piece.text;
    }
  }
  return {
    ...header(id, request.model),
    choices: choices.map(({ text, logprobs, end }, index) => ({
      index,
      text,
      logprobs: logprobs.value,
      finish_reason: end.finishReason,
    })),
    usage: usageOf(choices.map(({ end }) => end), prepared.n),
  };
}

/** Answers as a stream of chunks. */
export async function* streamCompletion(
  service: Service,
  id: string,
  request: CompletionRequest,
  prepared: PreparedCompletion,
  admitted: Admitted,
): AsyncGenerator<ServerEvent, void> {
  const head = header(id, request.model);
  const chunk = (index: number, text: string, rest: object = {}) => ({
    data: {
      ...head,
      choices: [{ index, text, logprobs: null, finish_reason: null, ...rest }],
    },
  });
  const echoes = await echoesOf(service, request, prepared);
  const ends: WireEnd[] = [];
  for (const [index, text] of echoes.entries()) if (text !== "") yield chunk(index, text);
  const offsets = echoes.map((text) => text.length);
  for await (const event of run(service, prepared, admitted)) {
    const { index } = event;
    if (event.kind === "end") {
      ends[index] = event.end;
      yield chunk(index, "", { finish_reason: event.end.finishReason });
      continue;
    }
    const { text, logprobs } = event.piece;
    if (text === "" && !logprobs) continue;
    const log = new TokenLog(offsets[index]);
    if (logprobs) log.add(logprobs);
    offsets[index] = log.offset;
    yield chunk(index, text, { logprobs: log.value });
  }
  if (request.stream_options?.include_usage) {
    yield { data: { ...head, choices: [], usage: usageOf(ends, prepared.n) } };
  }
}

function run(
  service: Service,
  { prompts, options, n }: PreparedCompletion,
  { signal }: Admitted,
): AsyncGenerator<ChoiceEvent, void> {
  const all: readonly WirePrompt[] = prompts;
  return generateChoices(
    service.supervisor.engine,
    { prompts: all, options, n, signal, names: {} },
    service.metrics,
  );
}

function promptsOf(prompt: CompletionRequest["prompt"]): (string | number[])[] {
  if (typeof prompt === "string") return [prompt];
  const list: (string | number | number[])[] = prompt;
  const ids = list.filter((each) => typeof each === "number");
  return ids.length > 0 ? [ids] : list.filter((each) => typeof each !== "number");
}

/** What stands before each choice. */
async function echoesOf(
  { supervisor }: Service,
  { echo }: CompletionRequest,
  { prompts, n }: PreparedCompletion,
): Promise<string[]> {
  const texts = await Promise.all(prompts.map(async (prompt) => {
    if (!echo) return "";
    return typeof prompt === "string" ? prompt : String(await supervisor.engine.decode(prompt));
  }));
  return texts.flatMap((text) => Array.from({ length: n }, () => text));
}

/** Log-probabilities in the form of this endpoint. */
class TokenLog {
  readonly #tokens: string[] = [];
  readonly #logprobs: number[] = [];
  readonly #top: Record<string, number>[] = [];
  readonly #offsets: number[] = [];

  /** `offset` is where the next token begins in the choice's text. */
  constructor(public offset = 0) {}

  add({ token, bytes, logprob, top }: WireLogprobs): void {
    this.#tokens.push(token);
    this.#logprobs.push(logprob);
    this.#top.push(Object.fromEntries(top.map((each) => [each.token, each.logprob])));
    this.#offsets.push(this.offset);
    // A special token is not in the text.
    if (bytes) this.offset += token.length;
  }

  /** Null when nothing was added. */
  get value(): Logprobs {
    if (this.#tokens.length === 0) return null;
    return {
      tokens: this.#tokens,
      token_logprobs: this.#logprobs,
      top_logprobs: this.#top,
      text_offset: this.#offsets,
    };
  }
}

function header(id: string, model: string) {
  return {
    id,
    object: "text_completion" as const,
    created: now(),
    model,
    system_fingerprint: "mixline",
  };
}
