/**
 * The protocol between the server and the process of its engine: one JSON document per line, calls
 * on the process's stdin, events on its stdout.
 *
 * @module
 */

import type { ChatMessage, ToolCall } from "../../models/mod.ts";
import type { ExpertLoad, GenerateOptions, SchedulerStats } from "../../runtime/mod.ts";

/** Options of a generation that cross the line; functions and signals stay in the server. */
export type WireOptions =
  & Omit<GenerateOptions, "allowedTokens" | "logitBias" | "signal">
  & {
    readonly logitBias?: Readonly<Record<string, number>>;
    /** The answer is JSON, of a schema or of any form. */
    readonly responseFormat?: ResponseFormat;
    /** The answer calls a tool: any, or the one of this name. */
    readonly toolChoice?: "required" | { readonly name: string };
    /** The answer ends after its first call. */
    readonly oneCall?: boolean;
  };

/** A form that an answer must have. */
export type ResponseFormat =
  | { readonly type: "json_object" }
  | {
    readonly type: "json_schema";
    readonly json_schema: {
      readonly name: string;
      readonly schema: Readonly<Record<string, unknown>>;
    };
  };

/** A text, a chat, or token ids. */
export type WirePrompt = string | readonly ChatMessage[] | readonly number[];

/** A call of the server. Every event that answers it has its `id`. */
export type EngineCall =
  /** First line: the pipeline, as YAML with every value in it. */
  | { readonly kind: "open"; readonly yaml: string }
  | {
    readonly kind: "generate";
    readonly id: number;
    readonly prompt: WirePrompt;
    readonly options: WireOptions;
  }
  | { readonly kind: "cancel"; readonly id: number }
  | {
    readonly kind: "encode";
    readonly id: number;
    readonly prompt: string | readonly ChatMessage[];
  }
  | { readonly kind: "decode"; readonly id: number; readonly tokens: readonly number[] }
  | { readonly kind: "stats"; readonly id: number }
  | { readonly kind: "experts"; readonly id: number };

/** What a process knows once its engine answers; JSON-safe. */
export interface EngineInfo {
  /** Name of the model. */
  readonly model: string;
  readonly executor: "cpu" | "webgpu";
  readonly device: string;
  readonly vocabSize: number;
  /** Tokens of the longest sequence, prompt and answer together. */
  readonly maxSequenceTokens: number;
  /** The model has a chat template. */
  readonly chats: boolean;
  /** Its template has a switch for thinking. */
  readonly thinkingSwitch: boolean;
  /** The engine's report. */
  readonly report: Readonly<Record<string, unknown>>;
}

/** An error on its way; the fields of `MixlineError.toJSON` and its status. */
export interface WireError {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  /** What of the call is at fault: `prompt`, an option, a variable of the chat template. */
  readonly param?: string;
  readonly status: number;
  readonly exitCode: number;
}

/** One piece of a generation. */
export interface WirePiece {
  readonly token: number;
  readonly text: string;
  /** What the model thought before its answer. */
  readonly reasoning?: string;
  /** Whole calls; `arguments` is an object. */
  readonly toolCalls?: readonly ToolCall[];
  readonly logprobs?: WireLogprobs;
}

/** A token as clients see it. */
export interface WireToken {
  /** Its text; a part of a character is a replacement mark, a special token its name. */
  readonly token: string;
  /** What it adds to the text; null for special tokens. */
  readonly bytes: readonly number[] | null;
}

/** Log-probabilities of one token, and of the likeliest ones. */
export interface WireLogprobs extends WireToken {
  readonly logprob: number;
  readonly top: readonly (WireToken & { readonly logprob: number })[];
}

/** How a generation ended. */
export interface WireEnd {
  readonly finishReason: "stop" | "length";
  readonly promptTokens: number;
  /** Those of the prompt that the cache had. */
  readonly reusedTokens: number;
  readonly completionTokens: number;
  /** Those of the answer that the model thought. */
  readonly reasoningTokens: number;
}

/** Events of the process. */
export type EngineEvent =
  /** Something happened while the engine was made ready. */
  | { readonly kind: "progress"; readonly message: string }
  | { readonly kind: "ready"; readonly info: EngineInfo }
  | { readonly kind: "piece"; readonly id: number; readonly piece: WirePiece }
  | { readonly kind: "end"; readonly id: number; readonly end: WireEnd }
  | { readonly kind: "tokens"; readonly id: number; readonly tokens: readonly number[] }
  | { readonly kind: "text"; readonly id: number; readonly text: string }
  | { readonly kind: "stats"; readonly id: number; readonly stats: SchedulerStats }
  | { readonly kind: "experts"; readonly id: number; readonly layers: readonly ExpertLoad[] }
  /** A call failed; without `id` the engine could not be opened, and the process ends. */
  | { readonly kind: "error"; readonly id?: number; readonly error: WireError };

/** A line of either direction. */
export function encodeLine(message: EngineCall | EngineEvent): string {
  return `${JSON.stringify(message)}\n`;
}

/** The lines of a stream of bytes. */
export async function* readLines(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<string> {
  /** The beginning of a line that has not ended, piece by piece: a call may have megabytes. */
  const begun: string[] = [];
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const [end, ...lines] = text.split("\n");
    begun.push(end);
    for (const next of lines) {
      yield begun.splice(0).join("");
      begun.push(next);
    }
  }
  const rest = begun.join("");
  if (rest !== "") yield rest;
}
