/**
 * gpt-oss's format: messages of a channel each, `<|channel|>analysis<|message|>..<|end|>`
 * (https://github.com/openai/harmony/blob/main/docs/format.md).
 *
 * @module
 */

import { defineOutputFormat, type OutputParser, type OutputPart } from "../output_format.ts";
import { beginsMark, firstMark, Parts } from "../parts.ts";
import { calls, inOrder, jsonCall, oneOf, until } from "../text_form.ts";
import { callWith } from "../tool_calls.ts";

const MESSAGE = "<|message|>";
const START = "<|start|>";
const HEADER_MARKS = ["<|channel|>", "<|constrain|>"];
const ANALYSIS = `<|channel|>analysis${MESSAGE}`;
/** What ends a message; `<|call|>` and `<|return|>` also end the generation. */
const ENDS = ["<|end|>", "<|call|>", "<|return|>", START];

export const harmony = defineOutputFormat({
  name: "harmony",
  summary: "messages of a channel each: analysis, commentary with calls, final",
  marks: [MESSAGE, ...HEADER_MARKS, ...ENDS],
  recognizes: (template, modelType) => template.includes("<|channel|>") || modelType === "gpt_oss",
  open: () => new HarmonyParser(),
  reasoning: () => oneOf(inOrder(ANALYSIS, until("<|end|>"), `<|end|>${START}assistant`), ""),
  answer: (form) => inOrder(`<|channel|>final${MESSAGE}`, form),
  // A call ends the generation, so that an answer has one.
  calls: (tools) =>
    calls(
      tools,
      (tool) =>
        jsonCall(
          `<|channel|>commentary to=functions.${tool.name} <|constrain|>json${MESSAGE}`,
          tool,
          "",
        ),
    ),
});

/** A message whose body comes. */
interface OpenMessage {
  readonly kind: "text" | "reasoning" | "call";
  readonly header: string;
  readonly recipient: string;
  /** Of a call alone; other bodies are given as they come. */
  body: string;
  /** Some of the body was given. */
  given: boolean;
}

class HarmonyParser implements OutputParser {
  #held = "";
  #message: OpenMessage | undefined;
  /** Kinds that have some text; the next message of that kind begins with an empty line. */
  readonly #begun = new Set<string>();

  push(text: string): OutputPart {
    const parts = new Parts();
    this.#held += text;
    while (this.#message ? this.#readBody(this.#message, parts) : this.#readHeader(parts));
    return parts.take();
  }

  end(): OutputPart {
    const parts = new Parts();
    if (this.#message) {
      this.#append(this.#message, this.#held, parts);
      this.#finish(this.#message, "", parts);
    } else if (this.#held.trim() !== "" && !isBareStart(this.#held)) {
      parts.add("text", this.#held);
    }
    this.#held = "";
    return parts.take();
  }

  #readHeader(parts: Parts): boolean {
    const at = this.#held.indexOf(MESSAGE);
    const header = at < 0 ? this.#held : this.#held.slice(0, at);
    if (!mayBeHeader(at < 0 ? header : header + MESSAGE)) {
      this.#message = openMessage("");
      const opening = this.#held.indexOf(START) + START.length;
      if (!header.trimStart().startsWith(START)) return true;
      this.#append(this.#message, this.#held.slice(0, opening), parts);
      this.#held = this.#held.slice(opening);
      return true;
    }
    if (at < 0) return false;
    this.#message = openMessage(header);
    this.#held = this.#held.slice(at + MESSAGE.length);
    return true;
  }

  #readBody(message: OpenMessage, parts: Parts): boolean {
    const found = firstMark(this.#held, ENDS);
    if (!found) {
      const kept = beginsMark(this.#held, ENDS);
      this.#append(message, this.#held.slice(0, this.#held.length - kept), parts);
      this.#held = this.#held.slice(this.#held.length - kept);
      return false;
    }
    this.#append(message, this.#held.slice(0, found.at), parts);
    this.#finish(message, found.mark, parts);
    this.#held = this.#held.slice(found.at + (found.mark === START ? 0 : found.mark.length));
    this.#message = undefined;
    return true;
  }

  #append(message: OpenMessage, text: string, parts: Parts): void {
    if (text === "") return;
    if (message.kind === "call") {
      message.body += text;
      return;
    }
    const gap = !message.given && this.#begun.has(message.kind) ? "\n\n" : "";
    message.given = true;
    this.#begun.add(message.kind);
    parts.add(message.kind, gap + text);
  }

  #finish({ kind, header, recipient, body }: OpenMessage, mark: string, parts: Parts): void {
    if (kind !== "call") return;
    const call = callWith(recipient.replace(/^functions\./, ""), body);
    if (call) parts.call([call]);
    else parts.add("text", header + MESSAGE + body + (mark === START ? "" : mark));
  }
}

function openMessage(header: string): OpenMessage {
  const channel = header.match(/<\|channel\|>\s*(\w*)/)?.[1];
  const recipient = header.match(/\bto=([^\s<]+)/)?.[1] ?? "";
  const kind = recipient ? "call" : channel === "analysis" ? "reasoning" : "text";
  return { kind, header, recipient, body: "", given: false };
}

/** True when a header may go on like this; other text is an answer without one. */
function mayBeHeader(text: string): boolean {
  let rest = text.trimStart();
  for (const word of [START, "assistant"]) {
    if (word.startsWith(rest)) return true;
    if (rest.startsWith(word)) rest = rest.slice(word.length).trimStart();
  }
  return [...HEADER_MARKS, MESSAGE, "to="].some((word) =>
    word.startsWith(rest) || rest.startsWith(word)
  );
}

/** The opening of a message that never came. */
function isBareStart(text: string): boolean {
  return /^(<\|start\|>)?\s*(assistant)?\s*$/.test(text) && text.includes(START);
}
