/**
 * Where a value of a pipeline comes from, and where in a text.
 *
 * @module
 */

import { excerptOf } from "./excerpt.ts";

/** The layer that set a value, lowest first. Later layers win. */
export type Origin =
  | { readonly layer: "definition" }
  | { readonly layer: "default"; readonly file: string; readonly line: number }
  | {
    readonly layer: "file";
    readonly file: string;
    readonly line: number;
    readonly column: number;
  }
  | { readonly layer: "environment"; readonly variable: string }
  | { readonly layer: "code"; readonly call: string }
  | { readonly layer: "flag"; readonly flag: string };

/** A location in a text, for messages. */
export interface TextLocation {
  /** `at deploy.yaml:3:14`, `in MIXLINE_MODEL`, `in --set model=x`. */
  readonly text: string;
  readonly file?: string;
  /** Counted from 1. */
  readonly line?: number;
  readonly column?: number;
  /** The line with a caret below what is meant. */
  readonly excerpt?: string;
}

/** The layer in words: `default`, `deploy.yaml:3:14`, `flag --set model=x`. */
export function formatOrigin(origin: Origin): string {
  switch (origin.layer) {
    case "definition":
      return "default";
    case "default":
      return `default, ${origin.file}:${origin.line}`;
    case "file":
      return `${origin.file}:${origin.line}:${origin.column}`;
    case "environment":
      return `environment ${origin.variable}`;
    case "code":
      return `code ${origin.call}`;
    case "flag":
      return `flag ${origin.flag}`;
  }
}

/** A named text whose offsets turn into lines and columns. */
export class SourceText {
  readonly #lineStarts: readonly number[];

  /** `folder` is where relative paths in the text start; default the current folder. */
  constructor(readonly name: string, readonly text: string, readonly folder?: string) {
    this.#lineStarts = [0, ...[...text.matchAll(/\n/g)].map(({ index }) => index + 1)];
  }

  /** Line and column of an offset, both counted from 1. */
  position(offset: number): { line: number; column: number } {
    let [line, after] = [1, this.#lineStarts.length + 1];
    while (after - line > 1) {
      const middle = (line + after) >> 1;
      if (this.#lineStarts[middle - 1] <= offset) line = middle;
      else after = middle;
    }
    return { line, column: offset - this.#lineStarts[line - 1] + 1 };
  }

  /** The location of the characters from `start` up to `end`; the last line that says something, if
   * they come after it. */
  location(start: number, end: number): TextLocation {
    const last = this.text.trimEnd().length;
    if (start > last) return this.location(last, last + 1);
    const { line, column } = this.position(start);
    return {
      text: `at ${this.name}:${line}:${column}`,
      file: this.name,
      line,
      column,
      excerpt: excerptOf(this.#line(line), column, end - start, String(line)),
    };
  }

  #line(line: number): string {
    const start = this.#lineStarts[line - 1];
    const end = this.#lineStarts[line] ?? this.text.length + 1;
    return this.text.slice(start, end - 1).replace(/\r$/, "");
  }
}
