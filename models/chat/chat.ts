/**
 * Chats of a model: messages in, a prompt and the reading of its answer out.
 *
 * @module
 */

import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { ChatTemplate, ChatVariables } from "./chat_template.ts";
import type { ChatMessage } from "./messages.ts";
import type { OutputFormat, OutputParser } from "./output/output_format.ts";
import { findOutputFormat } from "./output/output_formats.ts";

/** A chat up to where the assistant answers. */
export interface ChatPrompt {
  /** Encode it without adding special tokens: the template writes them. */
  readonly text: string;
  /** How the answer reads; undefined when all of it is text. */
  readonly answer?: ChatAnswer;
}

/** How the tokens of one answer become its parts. */
export interface ChatAnswer {
  /** Text of token ids with the marks of the format in it. */
  decode(ids: readonly number[]): string;
  /** Splits that text. */
  readonly parser: OutputParser;
}

/** Renders the chats of one model. */
export class Chat {
  /** The format of the model's answers; undefined when they are plain text. */
  readonly format: OutputFormat | undefined;

  constructor(readonly template: ChatTemplate, readonly tokenizer: Tokenizer, modelType: string) {
    const source = typeof template.source === "string" ? template.source : "";
    const toolUse = template.toolUse?.source;
    this.format = findOutputFormat(
      source + (typeof toolUse === "string" ? toolUse : ""),
      modelType,
    );
  }

  /** The prompt of some messages, and a fresh parser of its answer. */
  prompt(messages: readonly ChatMessage[], wishes: ChatVariables = {}): ChatPrompt {
    const variables = this.template.variablesOf(wishes);
    const text = this.template.render(messages, { variables });
    if (!this.format) return { text };
    const keep = new Set(this.format.marks);
    const { tools } = wishes;
    return {
      text,
      answer: {
        decode: (ids) => this.tokenizer.decode(ids, { keep }),
        parser: this.format.open({ prompt: text, ...(tools && { tools }) }),
      },
    };
  }
}
