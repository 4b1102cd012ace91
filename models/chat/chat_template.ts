/**
 * Chat messages to a prompt, by the Jinja template of a model.
 *
 * @module
 */

import { basename, join } from "node:path";
import { z } from "../../deps/zod.ts";
import { CheckpointError, messageOf, nearest, RequestError } from "../../graph/mod.ts";
import { isFile, readJson, readText } from "../checkpoint/json_file.ts";
import type { TokenizerConfig } from "../tokenizer/tokenizer.ts";
import { renderTree } from "./jinja_interpreter.ts";
import { namesIn, type Node, parseTemplate } from "./jinja_syntax.ts";
import { callsTools, type ChatMessage, readMessages, withArgumentTexts } from "./messages.ts";
import { sizeOf, toValue } from "./python_values.ts";
import { TemplateBudget } from "./template_budget.ts";

/** Options of {@linkcode ChatTemplate.render}. */
export interface RenderOptions {
  /** End with the opening of the assistant's turn; default true. */
  readonly addGenerationPrompt?: boolean;
  /** Further variables of the template, such as `tools` or `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** Wishes of a request that reach the template as variables. */
export interface ChatVariables {
  /** Functions that the model may call, in OpenAI's form. */
  readonly tools?: readonly unknown[];
  /** Let the model think before it answers, or not. */
  readonly thinking?: boolean;
  /** Variables by the template's own names, such as `reasoning_effort` or `documents`. */
  readonly templateVariables?: Readonly<Record<string, unknown>>;
}

/** Several templates by name, as some configs have; `default` is for chats. */
const namedTemplates = z.array(z.looseObject({ name: z.string(), template: z.string() }));

const jsonFile = z.looseObject({ chat_template: z.unknown() });

/** Names that templates have for a switch of thinking. */
const THINKING = ["enable_thinking", "thinking"];

/** Variables that every rendering sets; a request cannot. */
const RESERVED = ["messages", "add_generation_prompt"];

/**
 * A chat template, parsed. Its prompts hold the special tokens already: encode them with
 * `addSpecialTokens: false`.
 *
 * Rendering computes at most a fixed amount (`TemplateBudget`) and reaches nothing but its variables.
 *
 * @example
 * ```ts
 * import { ChatTemplate } from "./chat_template.ts";
 * const template = new ChatTemplate("{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}");
 * console.assert(template.render([{ role: "user", content: "Hi" }]) === "[user] Hi");
 * ```
 */
export class ChatTemplate {
  readonly #program: Node | CheckpointError;
  /** Names of the variables that the template reads. */
  readonly names: ReadonlySet<string>;

  /**
   * Parses a template, or keeps why it cannot be read. `variables` are known to every rendering:
   * `bos_token`, `eos_token`, ..; `origin` is the file, for errors; `toolUse` is the template of
   * requests with tools, where a model has one of its own.
   */
  constructor(
    readonly source: string | CheckpointError,
    readonly variables: Readonly<Record<string, unknown>> = {},
    readonly origin = "chat template",
    readonly toolUse?: ChatTemplate,
  ) {
    this.#program = typeof source === "string" ? parse(source, origin) : source;
    this.names = this.#program instanceof CheckpointError ? new Set() : namesIn(this.#program);
  }

  /**
   * The template of a folder: `chat_template.jinja`, else `chat_template.json`, else `chat_template`
   * of tokenizer_config.json; undefined when it has none. One that cannot be read is there too, and
   * refuses messages with the error in {@linkcode ChatTemplate.unavailable}.
   */
  static async open(folder: string, config: TokenizerConfig): Promise<ChatTemplate | undefined> {
    const variables = specialTokens(config);
    const path = join(folder, "chat_template.jinja");
    if (await isFile(path)) return ChatTemplate.of(await readText(path), variables, path);
    const jsonPath = join(folder, "chat_template.json");
    if (await isFile(jsonPath)) {
      const { data } = jsonFile.safeParse(await readJson(jsonPath));
      if (data) return ChatTemplate.of(data.chat_template, variables, jsonPath);
    }
    return ChatTemplate.fromConfig(config, join(folder, "tokenizer_config.json"));
  }

  /** The template in a tokenizer's config; undefined when it has none. */
  static fromConfig(config: TokenizerConfig, origin: string): ChatTemplate | undefined {
    return ChatTemplate.of(config.chat_template, specialTokens(config), origin);
  }

  /** The template of a config's value, a text or several by name; undefined for anything else. */
  static of(
    value: unknown,
    variables: Readonly<Record<string, unknown>>,
    origin: string,
  ): ChatTemplate | undefined {
    if (typeof value === "string") return openTemplate(value, variables, origin);
    const { data } = namedTemplates.safeParse(value);
    const named = (name: string) => data?.find((each) => each.name === name)?.template;
    const [chat, tools] = [named("default"), named("tool_use")];
    const toolUse = tools === undefined ? undefined : openTemplate(tools, variables, origin);
    return chat === undefined ? toolUse : openTemplate(chat, variables, origin, toolUse);
  }

  /** Why messages cannot be rendered; undefined when they can. */
  get unavailable(): CheckpointError | undefined {
    return this.#program instanceof CheckpointError ? this.#program : undefined;
  }

  /** Whether requests may have tools. */
  get readsTools(): boolean {
    return this.names.has("tools") || this.toolUse !== undefined;
  }

  /** The variable that turns thinking on and off, if there is one. */
  get thinkingVariable(): string | undefined {
    return THINKING.find((name) => this.names.has(name));
  }

  /** The prompt of a chat; a {@linkcode RequestError} when the template refuses the messages. */
  render(
    messages: readonly ChatMessage[],
    { addGenerationPrompt = true, variables = {} }: RenderOptions = {},
  ): string {
    if (this.toolUse && variables.tools) {
      return this.toolUse.render(messages, { addGenerationPrompt, variables });
    }
    const read = readMessages(messages);
    const render = (messages: readonly ChatMessage[]) =>
      this.#render({ ...variables, messages, add_generation_prompt: addGenerationPrompt });
    try {
      return render(read);
    } catch (error) {
      // Some templates paste the arguments of tool calls as a text, most take a mapping.
      if (!read.some(callsTools) || !(error instanceof RequestError)) throw error;
      try {
        return render(withArgumentTexts(read));
      } catch {
        throw error;
      }
    }
  }

  /**
   * The variables of a request. The template must read each of them: a wish that nothing reads would
   * be ignored in silence.
   */
  variablesOf({ tools, thinking, templateVariables = {} }: ChatVariables): Record<string, unknown> {
    Object.keys(templateVariables).forEach((name) => this.#checkVariable(name));
    const wishes: Record<string, unknown> = { ...templateVariables };
    if (tools !== undefined && tools.length > 0) {
      if (!this.readsTools) throw unread("tools", "a chat template with tools", "one without");
      wishes.tools = tools;
    }
    if (thinking !== undefined) {
      const name = this.thinkingVariable;
      if (!name) {
        const expected = `a chat template that reads ${THINKING.join(" or ")}`;
        throw unread("thinking", expected, "one that reads neither");
      }
      wishes[name] = thinking;
    }
    return wishes;
  }

  #render(request: Readonly<Record<string, unknown>>): string {
    if (this.#program instanceof CheckpointError) throw this.#program;
    const variables = { ...this.variables, ...request };
    try {
      const budget = new TemplateBudget(sizeOf(toValue(variables), Infinity));
      return renderTree(this.#program, variables, budget);
    } catch (cause) {
      throw new RequestError(
        "request/chat",
        // Clients of a server read this, too: the folders above the file are none of their business.
        `Cannot render the chat with the template of "${basename(this.origin)}": ${
          messageOf(cause)
        }`,
        { hint: "Change the messages, or send a plain prompt", cause },
      );
    }
  }

  #checkVariable(name: string): void {
    const known = [...this.names].filter((each) => !RESERVED.includes(each));
    if (RESERVED.includes(name)) {
      throw unread(name, "a variable that requests may set", "one that the messages set");
    }
    if (known.includes(name) || (name === "tools" && this.readsTools)) return;
    const near = nearest(name, known);
    const hint = near ? `Did you mean "${near}"?` : undefined;
    throw unread(name, "a variable that the chat template reads", "another one", hint);
  }
}

function openTemplate(...[source, ...rest]: ConstructorParameters<typeof ChatTemplate>) {
  try {
    return new ChatTemplate(source, ...rest);
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    return new ChatTemplate(error, ...rest);
  }
}

function parse(source: string, origin: string): Node {
  try {
    return parseTemplate(source);
  } catch (cause) {
    throw new CheckpointError(
      "checkpoint/chat-template",
      `Cannot read chat template of "${origin}": expected Jinja, got: ${messageOf(cause)}`,
      { hint: "Correct the template; the model works without it for plain prompts", cause },
    );
  }
}

/** `bos_token`, `eos_token`, ..: the tokens that templates write by name. */
function specialTokens(config: TokenizerConfig): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(config)) {
    if (name.endsWith("_token") && typeof value === "string") tokens[name] = value;
  }
  return tokens;
}

function unread(name: string, expected: string, got: string, hint?: string): RequestError {
  return new RequestError(
    "request/template-variable",
    `Cannot render the chat with "${name}": expected ${expected}, got ${got}`,
    { hint: hint ?? `Leave "${name}" out of the request`, details: { variable: name } },
  );
}
