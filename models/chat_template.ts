/**
 * Chat messages to a prompt, by the Jinja template of a model.
 *
 * @module
 */

import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { CheckpointError, messageOf } from "../graph/mod.ts";
import { isFile, readText } from "./json_file.ts";

/** One message of a chat. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Options of {@linkcode ChatTemplate.render}. */
export interface RenderOptions {
  /** End with the opening of the assistant's turn; default true. */
  readonly addGenerationPrompt?: boolean;
  /** Further variables of the template, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** A chat template, parsed. */
export class ChatTemplate {
  readonly #template: Template;

  /** `variables` are known to every rendering: `bos_token`, `eos_token`, .. */
  constructor(source: string, readonly variables: Readonly<Record<string, unknown>> = {}) {
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new CheckpointError(
        "checkpoint/chat-template",
        `Cannot read chat template: expected Jinja, got: ${messageOf(cause)}`,
        { cause },
      );
    }
  }

  /** The template of a folder: `chat_template.jinja`, else `chat_template` of the tokenizer's config. */
  static async open(
    folder: string,
    tokenizerConfig: Readonly<Record<string, unknown>>,
  ): Promise<ChatTemplate | undefined> {
    const path = join(folder, "chat_template.jinja");
    const source = await isFile(path) ? await readText(path) : tokenizerConfig.chat_template;
    return typeof source === "string" ? new ChatTemplate(source) : undefined;
  }

  /** The prompt of a chat. */
  render(
    messages: readonly ChatMessage[],
    { addGenerationPrompt = true, variables = {} }: RenderOptions = {},
  ): string {
    return this.#template.render({
      ...this.variables,
      ...variables,
      messages,
      add_generation_prompt: addGenerationPrompt,
    });
  }
}
