/**
 * The engine's side of the line: a process that holds one engine and answers the server's calls.
 *
 * @module
 */

import { type DeployEvent, pipeline } from "../../dsl/mod.ts";
import { DeviceError, messageOf, MixlineError, RequestError } from "../../graph/mod.ts";
import type { AnswerDemand, ChatMessage } from "../../models/mod.ts";
import type { Engine, Piece } from "../../runtime/mod.ts";
import { Grammars, type Guide } from "./grammar.ts";
import { untilFirstCall } from "./one_call.ts";
import {
  type EngineCall,
  type EngineEvent,
  readLines,
  type ResponseFormat,
  type WireError,
  type WireOptions,
  type WirePiece,
  type WirePrompt,
} from "./protocol.ts";
import { TokenTexts } from "./token_texts.ts";

/** Answers calls until the stream of calls ends, as it does when the server is gone. */
export async function hostEngine(
  calls: ReadableStream<Uint8Array<ArrayBuffer>>,
  send: (event: EngineEvent) => void,
): Promise<number> {
  const lines = readLines(calls);
  const first = await lines.next();
  const opening: EngineCall | undefined = first.done ? undefined : JSON.parse(first.value);
  if (opening?.kind !== "open") return 0;
  let engine: Engine;
  try {
    engine = await pipeline.fromYaml(opening.yaml).deploy({
      watchExperts: true,
      onProgress: (event) =>
        describe(event).forEach((message) => send({ kind: "progress", message })),
    });
    await engine.warmUp();
  } catch (error) {
    const wire = toWire(error);
    send({ kind: "error", error: wire });
    return wire.exitCode;
  }
  send({ kind: "ready", info: infoOf(engine) });
  return await answerCalls(engine, lines, send);
}

/**
 * Answers the calls of an open engine. Gives the exit code when there are no more of them, or when the
 * engine has lost its device: another process may get a new one, this one cannot.
 */
export async function answerCalls(
  engine: Engine,
  lines: AsyncIterable<string>,
  send: (event: EngineEvent) => void,
): Promise<number> {
  const lost = Promise.withResolvers<number>();
  const host = new EngineHost(engine, send, ({ exitCode }) => lost.resolve(exitCode));
  const answerAll = async () => {
    for await (const line of lines) host.take(JSON.parse(line));
    await engine.close();
    return 0;
  };
  return await Promise.race([answerAll(), lost.promise]);
}

/** Codes of errors after which a device does nothing more. */
const LOST_DEVICE = ["device/lost", "device/error"];

/** Calls in flight of one engine. */
class EngineHost {
  readonly #running = new Map<number, AbortController>();
  #made: Grammars | undefined;
  #texts: TokenTexts | undefined;

  constructor(
    readonly engine: Engine,
    readonly send: (event: EngineEvent) => void,
    readonly onLost: (error: DeviceError) => void,
  ) {}

  take(call: EngineCall): void {
    if (call.kind === "open") return;
    if (call.kind === "cancel") return this.#running.get(call.id)?.abort();
    this.#answer(call).catch((error) => {
      this.send({ kind: "error", id: call.id, error: toWire(error) });
      if (error instanceof DeviceError && LOST_DEVICE.includes(error.code)) this.onLost(error);
    });
  }

  async #answer(call: Exclude<EngineCall, { kind: "open" | "cancel" }>): Promise<void> {
    const { engine } = this;
    const { id } = call;
    switch (call.kind) {
      case "generate":
        return await this.#generate(call);
      case "encode":
        return this.send({ kind: "tokens", id, tokens: [...engine.promptTokens(call.prompt)] });
      case "decode":
        return this.send({ kind: "text", id, text: engine.decode(call.tokens) });
      case "stats":
        return this.send({ kind: "stats", id, stats: engine.stats() });
      case "experts":
        return this.send({ kind: "experts", id, layers: await engine.recentExpertLoad() });
    }
  }

  async #generate(
    { id, prompt, options }: Extract<EngineCall, { kind: "generate" }>,
  ): Promise<void> {
    const abort = new AbortController();
    this.#running.set(id, abort);
    try {
      const { responseFormat: _, toolChoice: __, oneCall, ...given } = options;
      using guide = await this.#guide(prompt, options);
      const generation = this.engine.generate(prompt, {
        ...given,
        ...(guide && { allowedTokens: guide.allowedTokens }),
        signal: abort.signal,
      });
      let [completionTokens, reasoningTokens] = [0, 0];
      for await (const piece of oneCall ? untilFirstCall(generation) : generation) {
        completionTokens++;
        if (piece.reasoning !== undefined) reasoningTokens++;
        this.send({ kind: "piece", id, piece: this.#wirePiece(piece) });
      }
      const { finishReason = "stop", promptTokens = 0, reusedTokens = 0 } = generation;
      const used = { promptTokens, reusedTokens, completionTokens, reasoningTokens };
      this.send({ kind: "end", id, end: { finishReason, ...used } });
    } finally {
      this.#running.delete(id);
    }
  }

  /** Guides an answer whose form the request demands; undefined where it may be anything. */
  async #guide(prompt: WirePrompt, options: WireOptions): Promise<Guide | undefined> {
    const { responseFormat, toolChoice } = options;
    if (!responseFormat && !toolChoice) return undefined;
    const param = toolChoice ? "tools" : "response_format";
    if (!isChat(prompt)) throw new Error("a form is demanded of a prompt that is no chat");
    const form = this.engine.answerForm(prompt, demandOf(options), options);
    return await this.#grammars(param).guide(form, param);
  }

  /** Grammars need texts of tokens. @throws {RequestError} where there is no tokenizer. */
  #grammars(param: string): Grammars {
    const vocabulary = this.engine.vocabulary();
    if (vocabulary) {
      return this.#made ??= new Grammars({ vocabulary, endTokens: this.engine.endTokens });
    }
    throw new RequestError(
      "request/json-schema",
      `Cannot answer in the form of ${param}: expected a model with a tokenizer, got one without`,
    );
  }

  #wirePiece({ logprobs, ...piece }: Piece): WirePiece {
    if (!logprobs) return piece;
    const texts = this.#texts ??= new TokenTexts(this.engine);
    const { logprob, top } = logprobs;
    return {
      ...piece,
      logprobs: {
        ...texts.of(piece.token),
        logprob,
        top: top.map(({ token, logprob }) => ({ ...texts.of(token), logprob })),
      },
    };
  }
}

/** What an answer must be. One that may call tools may be JSON or calls. */
function demandOf(
  { responseFormat, toolChoice, tools, oneCall = false }: WireOptions,
): AnswerDemand {
  const mayCall = toolChoice !== undefined || (tools?.length ?? 0) > 0;
  const name = typeof toolChoice === "object" ? toolChoice.name : undefined;
  return {
    ...(responseFormat && toolChoice === undefined && { json: schemaOf(responseFormat) }),
    ...(mayCall && {
      calls: { several: !oneCall && name === undefined, ...(name !== undefined && { name }) },
    }),
  };
}

function schemaOf(format: ResponseFormat) {
  return format.type === "json_object" ? { type: "object" } : format.json_schema.schema;
}

function isChat(prompt: WirePrompt): prompt is readonly ChatMessage[] {
  return Array.isArray(prompt) && typeof prompt[0] === "object";
}

function infoOf(engine: Engine) {
  const { report } = engine;
  return {
    model: nameOf(report.model),
    executor: report.executor.kind,
    device: report.device,
    vocabSize: engine.vocabSize,
    maxSequenceTokens: engine.maxSequenceTokens,
    chats: engine.canChat,
    thinkingSwitch: engine.canSwitchThinking,
    report,
  };
}

/** The name in the report's description of the model. */
function nameOf(model: unknown): string {
  const isNamed = typeof model === "object" && model !== null && "name" in model;
  return isNamed ? String(model.name) : "model";
}

/** Events worth a line in the server's log. */
function describe(event: DeployEvent): string[] {
  switch (event.kind) {
    case "model":
      return [`model ${event.name} (${event.architecture}) from ${event.path}`];
    case "executor":
      return [
        event.description.includes(event.reason)
          ? `executor ${event.executor}: ${event.description}`
          : `executor ${event.executor}: ${event.description} (${event.reason})`,
      ];
    case "note":
      return [event.message];
    default:
      return [];
  }
}

/** Errors about the prompt, or about how much is to follow it, say so by their code. */
const PARAMS_OF_CODES: Readonly<Record<string, string>> = {
  "request/chat": "prompt",
  "request/empty-prompt": "prompt",
  "request/messages": "prompt",
  "request/no-chat-template": "prompt",
  "request/prompt-too-long": "prompt",
  "request/token-id": "prompt",
  "request/too-many-tokens": "maxNewTokens",
};

function toWire(error: unknown): WireError {
  if (error instanceof MixlineError) {
    const { code, message, hint, details, httpStatus: status, exitCode } = error;
    const param = [details.param, details.variable, details.option, PARAMS_OF_CODES[code]]
      .find((name) => typeof name === "string");
    return {
      ...{ code, message, status, exitCode },
      ...(hint !== undefined && { hint }),
      ...(typeof param === "string" && { param }),
    };
  }
  return { code: "engine/bug", message: messageOf(error), status: 500, exitCode: 1 };
}
