/**
 * Prompts as token ids: texts, chats through the template, and ids that are checked. Needs no engine,
 * so that a request can be refused before weights are read.
 *
 * @module
 */

import { RequestError } from "../../graph/mod.ts";
import type {
  ChatAnswer,
  ChatMessage,
  ChatPrompt,
  ChatVariables,
  Vocabulary,
} from "../../models/mod.ts";
import { chatOptionsOf, refuseChatOptions } from "./chat_options.ts";
import {
  checkOptions,
  type GenerateOptions,
  type GenerationDefaults,
  type ResolvedOptions,
  resolveOptions,
} from "./generate_options.ts";
import { showValue } from "./show_value.ts";

/** What `engine.generate` continues: a text, a chat, or token ids. */
export type Prompt = string | readonly ChatMessage[] | readonly number[] | Int32Array;

/** Between text and token ids. */
export interface TextCodec {
  /** `addSpecialTokens` puts in what the tokenizer's post-processor adds, such as a BOS. */
  encode(text: string, options: { readonly addSpecialTokens: boolean }): ArrayLike<number>;
  /** The chat template has a variable that turns thinking on and off. */
  readonly canSwitchThinking?: boolean;
  /** Text without special tokens. */
  decode(ids: readonly number[]): string;
  /** What the ids below `size` add to a text; absent without a tokenizer. */
  vocabulary?(size: number): Vocabulary;
  /** There is no tokenizer: `encode` and `decode` raise, token ids are run, and have empty text. */
  readonly isTextless?: boolean;
  /**
   * The text of a chat up to where the assistant answers, and how the answer reads; absent without a
   * chat template.
   */
  renderChat?(messages: readonly ChatMessage[], wishes: ChatVariables): ChatPrompt;
}

/** A prompt in the model's tokens. */
export interface PromptTokens {
  readonly tokens: Int32Array<ArrayBuffer>;
  readonly answer?: ChatAnswer;
}

/** Reads the prompts of one model. */
export class PromptReader {
  /** `vocabSize` is above every token id. */
  constructor(readonly codec: TextCodec, readonly vocabSize: number) {}

  /** Token ids of a text, with the special tokens that the tokenizer adds. */
  encode(text: string): Int32Array<ArrayBuffer> {
    if (typeof text !== "string") throw wrongPrompt("a text", text);
    return Int32Array.from(this.codec.encode(text, { addSpecialTokens: true }));
  }

  /**
   * A request as it will run: the tokens of its prompt, and its options with what they leave open.
   *
   * @throws {RequestError} for a prompt without tokens, one that is too long, wrong options, and so on.
   */
  plan(
    { prompt, options }: PlannedRequest,
    defaults: GenerationDefaults,
    maxSequenceTokens: number,
  ): PromptTokens & { readonly resolved: ResolvedOptions } {
    checkOptions(options);
    const { vocabSize } = this;
    const read = this.read(prompt, options);
    const promptTokens = read.tokens.length;
    const sizes = { promptTokens, maxSequenceTokens, vocabSize };
    return { ...read, resolved: resolveOptions(options, defaults, sizes) };
  }

  /** Tokens of a prompt, and how the answer to a chat reads. */
  read(prompt: Prompt, options: GenerateOptions): PromptTokens {
    if (typeof prompt === "string") {
      refuseChatOptions(options, "a text");
      return { tokens: this.checkTokens(this.encode(prompt), OF_TEXT) };
    }
    if (!Array.isArray(prompt) && !(prompt instanceof Int32Array)) {
      throw wrongPrompt("a text, messages or token ids", prompt);
    }
    if (isChat(prompt)) return this.#readChat(prompt, chatOptionsOf(options));
    refuseChatOptions(options, "token ids");
    return { tokens: this.checkTokens(prompt) };
  }

  #readChat(messages: readonly ChatMessage[], wishes: ChatVariables): PromptTokens {
    const { text, answer } = this.render(messages, wishes);
    // The template writes the special tokens itself.
    const ids = this.codec.encode(text, { addSpecialTokens: false });
    const tokens = this.checkTokens(ids, OF_TEXT);
    return { tokens, ...(answer && { answer }) };
  }

  /** A chat up to where the assistant answers. */
  render(messages: readonly ChatMessage[], wishes: ChatVariables): ChatPrompt {
    const { codec } = this;
    if (!codec.renderChat) {
      throw new RequestError(
        "request/no-chat-template",
        "Cannot generate from messages: expected a model with a chat template, got one without",
        { hint: "Pass the prompt as a text, in the form the model was trained on" },
      );
    }
    return codec.renderChat(messages, wishes);
  }

  /** Token ids that exist. */
  checkTokens(given: ArrayLike<number>, hint?: string): Int32Array<ArrayBuffer> {
    const { vocabSize } = this;
    if (!Array.isArray(given) && !ArrayBuffer.isView(given)) {
      throw wrongPrompt("token ids as an array", given);
    }
    const ids: readonly unknown[] = Array.from(given);
    const wrong = ids.findIndex((id) =>
      typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= vocabSize
    );
    if (wrong >= 0) {
      throw new RequestError(
        "request/token-id",
        `Cannot read token ${wrong} of the prompt: expected an id from 0 to ${vocabSize - 1}, got ${
          showValue(ids[wrong])
        }`,
        { hint },
      );
    }
    return Int32Array.from(given);
  }
}

/** A request that will be made. */
export interface PlannedRequest {
  /** What it starts from. */
  readonly prompt: Prompt;
  /** As `engine.generate` takes them. */
  readonly options: GenerateOptions;
}

const OF_TEXT = "Check that the tokenizer's files belong to these weights";

function wrongPrompt(expected: string, got: unknown): RequestError {
  return new RequestError(
    "request/prompt",
    `Cannot read the prompt: expected ${expected}, got ${showValue(got)}`,
  );
}

/** Whether the elements of a prompt are messages; one that begins with a message must hold no other. */
function isChat(
  prompt: readonly ChatMessage[] | readonly number[] | Int32Array,
): prompt is readonly ChatMessage[] {
  const elements: readonly unknown[] = Array.from<unknown>(prompt);
  if (typeof elements[0] !== "object") return false;
  for (const [i, message] of elements.entries()) {
    const isMessage = typeof message === "object" && message !== null &&
      typeof Reflect.get(message, "role") === "string";
    if (isMessage) continue;
    throw new RequestError(
      "request/chat",
      `Cannot read message ${i} of the chat: expected an object with a "role", got ${
        showValue(message)
      }`,
    );
  }
  return true;
}
