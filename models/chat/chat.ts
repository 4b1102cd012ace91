/**
 * Chats of a model: messages in, a prompt and the reading of its answer out.
 *
 * @module
 */

import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { type AnswerDemand, answerForm } from "./answer_form.ts";
import type { ChatTemplate, ChatVariables } from "./chat_template.ts";
import type { ChatMessage } from "./messages.ts";
import type { OutputFormat, OutputParser } from "./output/output_format.ts";
import { findOutputFormat } from "./output/output_formats.ts";
import type { TextForm } from "./output/text_form.ts";

/** A chat up to where the assistant answers. */
export interface ChatPrompt {
  /** Encode it without adding special tokens: the template writes them. */
  readonly text: string;
  /** How the answer reads; undefined when all of it is text. */
  readonly answer?: ChatAnswer;
  /** What the answer has to look like to meet a demand. */
  formOf(demand: AnswerDemand): TextForm;
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
  /** Text of the template, that of requests with tools too. */
  readonly #template: string;

  constructor(readonly template: ChatTemplate, readonly tokenizer: Tokenizer, modelType: string) {
    this.#template = [template, template.toolUse]
      .map((each) => typeof each?.source === "string" ? each.source : "").join("");
    this.format = findOutputFormat(this.#template, modelType);
  }

  /** The prompt of some messages, and a fresh parser of its answer. */
  prompt(messages: readonly ChatMessage[], wishes: ChatVariables = {}): ChatPrompt {
    const variables = this.template.variablesOf(wishes);
    const text = this.template.render(messages, { variables });
    const { format, tokenizer } = this;
    const { tools = [] } = wishes;
    const template = this.#template;
    const formOf = (demand: AnswerDemand) =>
      answerForm(demand, { format, template, prompt: text, tools });
    if (!format) return { text, formOf };
    const keep = new Set(format.marks);
    return {
      text,
      formOf,
      answer: {
        decode: (ids) => tokenizer.decode(ids, { keep }),
        parser: format.open({ prompt: text, tools }),
      },
    };
  }
}
