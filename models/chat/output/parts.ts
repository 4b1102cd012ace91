/**
 * What parsers of outputs share: gathering parts, and finding marks in a text that still grows.
 *
 * @module
 */

import type { OutputPart, ToolCall } from "./output_format.ts";

/** Gathers what became certain in one step. */
export class Parts {
  #text = "";
  #reasoning = "";
  readonly #toolCalls: ToolCall[] = [];

  add(kind: "text" | "reasoning", text: string): void {
    if (kind === "text") this.#text += text;
    else this.#reasoning += text;
  }

  call(calls: readonly ToolCall[]): void {
    this.#toolCalls.push(...calls);
  }

  take(): OutputPart {
    return {
      ...(this.#text && { text: this.#text }),
      ...(this.#reasoning && { reasoning: this.#reasoning }),
      ...(this.#toolCalls.length > 0 && { toolCalls: this.#toolCalls }),
    };
  }
}

/** The first of some marks in a text; of two at the same index the longer one. */
export function firstMark(
  text: string,
  marks: readonly string[],
): { readonly at: number; readonly mark: string } | undefined {
  let first: { at: number; mark: string } | undefined;
  for (const mark of marks) {
    const at = text.indexOf(mark);
    if (at < 0) continue;
    const better = !first || at < first.at ||
      (at === first.at && mark.length > first.mark.length);
    if (better) first = { at, mark };
  }
  return first;
}

/** Length of the longest end of a text with which one of the marks begins. */
export function beginsMark(text: string, marks: readonly string[]): number {
  let longest = 0;
  for (const mark of marks) {
    for (let length = Math.min(mark.length - 1, text.length); length > longest; length--) {
      if (text.endsWith(mark.slice(0, length))) longest = length;
    }
  }
  return longest;
}
