/**
 * Options of a generation that only chats have: they reach the template of the model.
 *
 * @module
 */

import { RequestError } from "../../graph/mod.ts";
import type { ChatVariables } from "../../models/mod.ts";

/** What the values must be. */
export const CHAT_RULES = {
  tools: {
    expected: "a list of objects such as { type, function }",
    holds: (value: unknown) => Array.isArray(value) && value.every(isData),
  },
  thinking: {
    expected: "true or false",
    holds: (value: unknown) => typeof value === "boolean",
  },
  templateVariables: { expected: "an object of JSON values by name", holds: isData },
};

/** The options of a chat among all. */
export function chatOptionsOf(options: ChatVariables): ChatVariables {
  const { tools, thinking, templateVariables } = options;
  return {
    ...(tools !== undefined && { tools }),
    ...(thinking !== undefined && { thinking }),
    ...(templateVariables !== undefined && { templateVariables }),
  };
}

/** Raises for options that a prompt without messages (`what`, such as "a text") cannot use. */
export function refuseChatOptions(options: ChatVariables, what: string): void {
  const [name] = Object.keys(chatOptionsOf(options));
  if (name === undefined) return;
  throw new RequestError(
    "request/invalid-option",
    `Cannot generate with option "${name}": expected messages as the prompt, got ${what}`,
    { hint: "Send messages, or leave the option out", details: { option: name } },
  );
}

/** An object that holds no functions: templates call what they are given. */
function isData(value: unknown): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  try {
    structuredClone(value);
    return true;
  } catch {
    return false;
  }
}
