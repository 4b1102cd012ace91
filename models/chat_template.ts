/**
 * Chat messages to a prompt, by the Jinja template of a model.
 *
 * @module
 */

import { join } from "node:path";
import { Template } from "../deps/jinja.ts";
import { z } from "../deps/zod.ts";
import { CheckpointError, messageOf, RequestError } from "../graph/mod.ts";
import { isFile, readText } from "./json_file.ts";
import type { TokenizerConfig } from "./tokenizer.ts";

/** One message of a chat; templates may read further keys, such as `tool_calls`. */
export interface ChatMessage {
  readonly role: string;
  readonly content: unknown;
  readonly [key: string]: unknown;
}

/** Options of {@linkcode ChatTemplate.render}. */
export interface RenderOptions {
  /** End with the opening of the assistant's turn; default true. */
  readonly addGenerationPrompt?: boolean;
  /** Further variables of the template, such as `tools` or `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** Several templates by name, as some configs have; `default` is for chats. */
const namedTemplates = z.array(z.looseObject({ name: z.string(), template: z.string() }));

/**
 * A chat template, parsed. Its prompts hold the special tokens already: encode them with
 * `addSpecialTokens: false`.
 *
 * @example
 * ```ts
 * import { ChatTemplate } from "./chat_template.ts";
 * const template = new ChatTemplate("{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}");
 * console.assert(template.render([{ role: "user", content: "Hi" }]) === "[user] Hi");
 * ```
 */
export class ChatTemplate {
  readonly #template: Template;

  /**
   * Parses a template. `variables` are known to every rendering: `bos_token`, `eos_token`, ..;
   * `origin` is the file, for errors.
   */
  constructor(
    source: string,
    readonly variables: Readonly<Record<string, unknown>> = {},
    readonly origin = "chat template",
  ) {
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new CheckpointError(
        "checkpoint/chat-template",
        `Cannot read chat template of "${origin}": expected Jinja, got: ${messageOf(cause)}`,
        { hint: "Correct the template; the model works without it for plain prompts", cause },
      );
    }
  }

  /**
   * The template of a folder: `chat_template.jinja`, else `chat_template` of tokenizer_config.json;
   * undefined when it has neither.
   */
  static async open(folder: string, config: TokenizerConfig): Promise<ChatTemplate | undefined> {
    const path = join(folder, "chat_template.jinja");
    const special = Object.entries(config).filter(([key, value]) =>
      key.endsWith("_token") && typeof value === "string"
    );
    const variables = Object.fromEntries(special);
    if (await isFile(path)) return new ChatTemplate(await readText(path), variables, path);
    const source = templateOf(config.chat_template);
    if (source === undefined) return undefined;
    return new ChatTemplate(source, variables, join(folder, "tokenizer_config.json"));
  }

  /** The prompt of a chat; a {@linkcode RequestError} when the template refuses the messages. */
  render(
    messages: readonly ChatMessage[],
    { addGenerationPrompt = true, variables = {} }: RenderOptions = {},
  ): string {
    try {
      return this.#template.render({
        ...this.variables,
        ...variables,
        messages,
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (cause) {
      throw new RequestError(
        "request/chat",
        `Cannot render the chat: the template of "${this.origin}" says: ${messageOf(cause)}`,
        { hint: "Change the messages, or send a plain prompt", cause },
      );
    }
  }
}

function templateOf(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  const named = namedTemplates.safeParse(value);
  if (!named.success) return undefined;
  return named.data.find(({ name }) => name === "default")?.template;
}
