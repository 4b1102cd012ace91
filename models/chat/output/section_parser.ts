/**
 * Parser of answers with marked sections, such as `<think>..</think>` and `<tool_call>..</tool_call>`.
 *
 * @module
 */

import type { OutputFormat, OutputParser, OutputPart, ToolCall } from "./output_format.ts";
import { inOrder, oneOf, type TextForm, until } from "./text_form.ts";
import { beginsMark, firstMark, Parts } from "./parts.ts";

/** One kind of section. */
export interface Section {
  readonly open: string;
  /** Absent for a section that lasts to the end. */
  readonly close?: string;
  /** Reads the calls in a section; undefined when it is malformed. Absent for reasoning. */
  readonly read?: (body: string) => readonly ToolCall[] | undefined;
}

/** The section that models think in. */
export const THINK: Section = { open: "<think>", close: "</think>" };

/**
 * What an output format with sections has: one for reasoning, and one for calls of the request's tools
 * where the models make any.
 */
export function sections(
  reasoning: Section,
  callsOf?: (tools: readonly unknown[]) => Section,
): Pick<OutputFormat, "open" | "reasoning"> {
  return {
    open({ prompt, tools = [] }) {
      const inside = endsWithOpen(prompt, reasoning) ? reasoning : undefined;
      return new SectionParser(callsOf ? [reasoning, callsOf(tools)] : [reasoning], inside);
    },
    reasoning: (prompt) => reasoningIn(reasoning, prompt),
  };
}

/** True when a prompt ends with the mark that opens a section, as some templates do for thinking. */
function endsWithOpen(prompt: string, { open }: Section): boolean {
  return prompt.trimEnd().endsWith(open);
}

/** Reasoning in a section: the model may leave it out, unless the prompt has opened it. */
function reasoningIn(section: Section, prompt: string): TextForm {
  const { open, close = "" } = section;
  if (prompt.trimEnd().endsWith(close)) return "";
  const rest = inOrder(until(close), close, { kind: "space" });
  return endsWithOpen(prompt, section) ? rest : oneOf(inOrder(open, rest), "");
}

/**
 * Splits an answer into sections and the text around them. Whitespace beside a mark belongs to the
 * mark.
 *
 * @example
 * ```ts
 * import { SectionParser, THINK } from "./section_parser.ts";
 * const parser = new SectionParser([THINK]);
 * console.assert(parser.push("<think>\nhm").reasoning === "hm");
 * console.assert(parser.push("</thi").reasoning === undefined);
 * console.assert(parser.push("nk>\n\nYes").text === "Yes");
 * ```
 */
export class SectionParser implements OutputParser {
  /** Text that is not yet certain. */
  #held = "";
  #section: Section | undefined;
  /** Whitespace in front of the section, which comes back when it is malformed. */
  #gap = "";
  /** Whitespace that comes now is a mark's. */
  #afterMark = false;
  readonly #opens: readonly string[];

  /** `inside` is the section that the prompt has opened. */
  constructor(readonly sections: readonly Section[], inside?: Section) {
    this.#opens = sections.map(({ open }) => open);
    this.#section = inside;
    this.#afterMark = inside !== undefined;
  }

  push(text: string): OutputPart {
    const parts = new Parts();
    this.#held += text;
    while (this.#step(parts));
    return parts.take();
  }

  end(): OutputPart {
    const parts = new Parts();
    const section = this.#section;
    if (section?.read) this.#finishCalls(section, section.read, this.#held, "", parts);
    else this.#give(parts, this.#held);
    this.#held = "";
    return parts.take();
  }

  /** Reads up to the next mark; false when there is none yet. */
  #step(parts: Parts): boolean {
    const section = this.#section;
    if (section?.read) return this.#readCalls(section, section.read, parts);
    const marks = section ? [section.close ?? ""].filter(Boolean) : this.#opens;
    const found = firstMark(this.#held, marks);
    if (!found) {
      this.#giveCertain(parts, marks);
      return false;
    }
    const before = this.#held.slice(0, found.at);
    const trimmed = before.trimEnd();
    this.#give(parts, trimmed);
    this.#gap = this.#afterMark ? "" : before.slice(trimmed.length);
    this.#held = this.#held.slice(found.at + found.mark.length);
    this.#section = section ? undefined : this.sections.find(({ open }) => open === found.mark);
    this.#afterMark = true;
    return true;
  }

  #readCalls(section: Section, read: NonNullable<Section["read"]>, parts: Parts): boolean {
    const at = section.close === undefined ? -1 : this.#held.indexOf(section.close);
    if (section.close === undefined || at < 0) return false;
    const body = this.#held.slice(0, at);
    this.#held = this.#held.slice(at + section.close.length);
    this.#section = undefined;
    this.#finishCalls(section, read, body, section.close, parts);
    return true;
  }

  #finishCalls(
    { open }: Section,
    read: NonNullable<Section["read"]>,
    body: string,
    close: string,
    parts: Parts,
  ): void {
    const calls = read(body);
    this.#afterMark = calls !== undefined;
    if (calls) parts.call(calls);
    else parts.add("text", this.#gap + open + body + close);
    this.#gap = "";
  }

  /** Gives what no later text can change: all but whitespace and the beginning of a mark. */
  #giveCertain(parts: Parts, marks: readonly string[]): void {
    const kept = beginsMark(this.#held, marks);
    const certain = this.#held.slice(0, this.#held.length - kept).trimEnd();
    const rest = this.#held.slice(certain.length);
    this.#give(parts, certain);
    this.#held = this.#afterMark ? rest.trimStart() : rest;
  }

  #give(parts: Parts, text: string): void {
    const given = this.#afterMark ? text.trimStart() : text;
    if (given === "") return;
    this.#afterMark = false;
    parts.add(this.#section ? "reasoning" : "text", given);
  }
}
