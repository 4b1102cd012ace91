/**
 * What `inspect` shows about the chats of a model and about the tokens that end a text.
 *
 * @module
 */

import { Chat, type Model } from "../models/mod.ts";

/** What the chat template can do; undefined without one. */
export function describeChat({ chatTemplate, tokenizer, config }: Model) {
  if (!chatTemplate) return undefined;
  const { format } = new Chat(chatTemplate, tokenizer, config.model_type);
  return {
    tools: chatTemplate.readsTools,
    thinking: chatTemplate.thinkingVariable ?? null,
    output: format?.name ?? null,
    variables: [...chatTemplate.names].sort(),
    unreadable: chatTemplate.unavailable?.message ?? null,
  };
}

/** The same in one line. */
export function formatChat(model: Model): string {
  const chat = describeChat(model);
  if (!chat) return "none";
  if (chat.unreadable) return chat.unreadable;
  const abilities = [
    chat.tools ? "tools" : "no tools",
    chat.thinking ? `thinking (${chat.thinking})` : "no switch of thinking",
    chat.output ? `answers read as ${chat.output}` : "answers are plain text",
  ];
  return abilities.join(", ");
}

/** Ids and texts of the tokens that end a text. */
export function formatEndTokens({ generation, tokenizer }: Model): string {
  const tokens = generation.eosTokenIds.map((id) =>
    `${id} (${tokenizer.unavailable ? "no tokenizer" : tokenizer.tokenOf(id) ?? "unknown"})`
  );
  return tokens.join(", ") || "none";
}
