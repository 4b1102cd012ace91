/**
 * Messages of a chat as clients send them, in the form that templates read.
 *
 * @module
 */

import { RequestError } from "../../graph/mod.ts";

/** One message of a chat; templates may read further keys, such as `tool_calls`. */
export interface ChatMessage {
  /** Who says it: `system`, `user`, `assistant`, `tool`, or what else the template knows. */
  readonly role: string;
  /** A text, null beside tool calls, or parts such as `{ type: "text", text }`, which are joined. */
  readonly content?: unknown;
  /** What else the model's template reads. */
  readonly [key: string]: unknown;
}

/** Kinds of parts that are text, by the names of OpenAI's APIs. */
const TEXT_PARTS = ["text", "input_text", "output_text"];

/**
 * Checks messages and makes them what templates expect: contents are texts, and the arguments of
 * tool calls mappings rather than JSON.
 *
 * @example
 * ```ts
 * import { readMessages } from "./messages.ts";
 * const [message] = readMessages([{ role: "user", content: [{ type: "text", text: "Hi" }] }]);
 * console.assert(message.content === "Hi");
 * ```
 */
export function readMessages(messages: readonly ChatMessage[]): ChatMessage[] {
  if (!Array.isArray(messages) || messages.length === 0) {
    throw invalid("the messages", "a list of at least one message", describe(messages));
  }
  return messages.map(readMessage);
}

/** The same messages, the arguments of tool calls as JSON, for templates that paste them. */
export function withArgumentTexts(messages: readonly ChatMessage[]): ChatMessage[] {
  return messages.map((message) =>
    mapArguments(message, (value) => typeof value === "object" ? JSON.stringify(value) : value)
  );
}

/** True when a message calls tools. */
export function callsTools({ tool_calls: calls }: ChatMessage): boolean {
  return Array.isArray(calls) && calls.length > 0;
}

function readMessage(message: unknown, index: number): ChatMessage {
  const name = `message ${index}`;
  if (!isRecord(message)) throw invalid(name, "an object with role and content", describe(message));
  const { role } = message;
  if (typeof role !== "string" || role === "") {
    throw invalid(`${name}'s role`, "a text such as user", describe(role));
  }
  const { tool_calls: calls } = message;
  if (calls !== undefined && calls !== null && !(Array.isArray(calls) && calls.every(isRecord))) {
    throw invalid(`${name}'s tool_calls`, "a list of objects", describe(calls));
  }
  const read = {
    ...message,
    role,
    ...("content" in message && { content: readContent(message.content, name) }),
  };
  return mapArguments(read, parseArguments);
}

function readContent(content: unknown, name: string): string | null {
  if (typeof content === "string") return content;
  if (content === null || content === undefined) return null;
  if (!Array.isArray(content)) {
    throw invalid(`${name}'s content`, "a text or a list of parts", describe(content));
  }
  return content.map((part, index) => textOfPart(part, `${name}'s part ${index}`)).join("");
}

function textOfPart(part: unknown, name: string): string {
  if (typeof part === "string") return part;
  if (isRecord(part)) {
    const { type = "text", text } = part;
    if (TEXT_PARTS.includes(String(type)) && typeof text === "string") return text;
    throw invalid(name, "a text; models read no other kind of part here", `type ${describe(type)}`);
  }
  throw invalid(name, "an object with type and text", describe(part));
}

function mapArguments(message: ChatMessage, change: (value: unknown) => unknown): ChatMessage {
  if (!callsTools(message)) return message;
  const calls = (message.tool_calls as unknown[]).filter(isRecord).map((call) => {
    if (isRecord(call.function)) {
      return { ...call, function: { ...call.function, ...changed(call.function, change) } };
    }
    return { ...call, ...changed(call, change) };
  });
  return { ...message, tool_calls: calls };
}

function changed(call: Record<string, unknown>, change: (value: unknown) => unknown) {
  return "arguments" in call ? { arguments: change(call.arguments) } : {};
}

/** OpenAI's clients send arguments as JSON; what is none stays the text it is. */
function parseArguments(value: unknown): unknown {
  if (typeof value !== "string") return value;
  if (value.trim() === "") return {};
  try {
    const parsed: unknown = JSON.parse(value);
    return isRecord(parsed) ? parsed : value;
  } catch {
    return value;
  }
}

/** True for a JSON object. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A value in a few words, for messages. */
export function describe(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "string") return JSON.stringify(value.slice(0, 40));
  return typeof value === "undefined" ? "nothing" : `a value of type ${typeof value}`;
}

function invalid(what: string, expected: string, got: string): RequestError {
  return new RequestError(
    "request/messages",
    `Cannot read ${what} of the chat: expected ${expected}, got ${got}`,
    { hint: 'Send messages such as { role: "user", content: "Hi" }' },
  );
}
