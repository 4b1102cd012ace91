/**
 * Flags of `deploy` that only chats have.
 *
 * @module
 */

import { ConfigError, messageOf } from "../graph/mod.ts";
import type { ChatMessage, ChatVariables } from "../models/mod.ts";

/** The values of the flags, as commander gives them. */
export interface ChatFlags {
  readonly chat?: boolean;
  readonly system?: string;
  readonly thinking?: "on" | "off";
  readonly templateVar?: Readonly<Record<string, unknown>>;
  /** Path of a JSON file. */
  readonly tools?: string;
}

/** How prompts become chats; undefined without `--chat`. */
export interface ChatRequest {
  /** The chat that a prompt opens. */
  messagesOf(prompt: string): ChatMessage[];
  readonly options: ChatVariables;
}

/** Gathers `--template-var name=json`; a value that is not JSON is taken as a text. */
export function collectVariable(
  text: string,
  before: Record<string, unknown> = {},
): Record<string, unknown> {
  const [, name, value] = text.match(/^([A-Za-z_]\w*)=([^]*)$/) ?? [];
  if (name !== undefined) return { ...before, [name]: jsonOrText(value) };
  throw flagError("--template-var", "name=value, such as reasoning_effort=high", text);
}

/** Reads the flags; one of them without `--chat` is an error. */
export async function readChatFlags(flags: ChatFlags): Promise<ChatRequest | undefined> {
  const { chat, system, thinking, templateVar, tools } = flags;
  if (!chat) {
    const given = Object.entries({ system, thinking, "template-var": templateVar, tools })
      .find(([, value]) => value !== undefined);
    if (given) throw flagError(`--${given[0]}`, "--chat beside it", "none");
    return undefined;
  }
  const list = tools === undefined ? undefined : await readTools(tools);
  return {
    messagesOf: (prompt) => [
      ...(system === undefined ? [] : [{ role: "system", content: system }]),
      { role: "user", content: prompt },
    ],
    options: {
      ...(list && { tools: list }),
      ...(thinking && { thinking: thinking === "on" }),
      ...(templateVar && { templateVariables: templateVar }),
    },
  };
}

async function readTools(path: string): Promise<readonly unknown[]> {
  let content: unknown;
  try {
    content = JSON.parse(await Deno.readTextFile(path));
  } catch (cause) {
    throw flagError("--tools", "a JSON file with a list of tools", messageOf(cause));
  }
  if (Array.isArray(content)) return content;
  throw flagError("--tools", "a JSON file with a list of tools", "another value");
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function flagError(flag: string, expected: string, got: string): ConfigError {
  return new ConfigError(
    "cli/invalid-value",
    `Cannot read flag "${flag}": expected ${expected}, got ${got}`,
    { hint: 'Give --help behind "deploy" to see what it takes', details: { flag } },
  );
}
