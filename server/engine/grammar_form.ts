/**
 * Forms of texts as grammars in the library's EBNF.
 *
 * @module
 */

import type { XGrammar } from "../../deps/xgrammar.ts";
import type { TextForm } from "../../models/mod.ts";

/** Whitespace between two parts of JSON: without a bound some models write nothing else. */
const MOST_WHITESPACE = 8;

/** Any text without marks. */
const FREE = "[^\\u0001]*";

/** A grammar whose rule `root` is the form. `marks` are the marks that are tokens, with their ids. */
export async function writeGrammar(
  form: TextForm,
  library: Pick<XGrammar, "Grammar">,
  marks: ReadonlyMap<string, number>,
): Promise<string> {
  const writer = new GrammarWriter(library, marks);
  const root = await writer.write(form);
  return [`root ::= ${root}`, ...writer.rules].join("\n");
}

/**
 * The text that stands for a mark: no JSON string and no free text can hold its first character. A digit
 * must not follow that, as the library would read it as part of the escape.
 */
export function markText(id: number): string {
  return `\u0001<${id}>`;
}

/** Writes forms as expressions, and the rules that these need. */
class GrammarWriter {
  readonly rules: string[] = [];
  /** Names of rules by what they are, so that tools with the same parameters share them. */
  readonly #names = new Map<string, string>();
  /** Longer ones first, so that a mark that begins another does not hide it. */
  readonly #marks: readonly string[];

  constructor(
    readonly library: Pick<XGrammar, "Grammar">,
    readonly marks: ReadonlyMap<string, number>,
  ) {
    this.#marks = [...marks.keys()].sort((a, b) => b.length - a.length);
  }

  /** The expression of a form. */
  async write(form: TextForm): Promise<string> {
    if (typeof form === "string") return this.#literal(form);
    switch (form.kind) {
      case "json":
        return await this.#json(JSON.stringify(form.schema));
      case "space":
        return "[ \\n]{0,4}";
      case "until":
        return this.marks.has(form.end) ? FREE : this.#without(form.end);
      case "all":
        return `(${(await this.#writeAll(form.forms)).join(" ")})`;
      case "any":
        return `(${(await this.#writeAll(form.forms)).join(" | ")})`;
      case "list": {
        const expression = await this.write(form.form);
        const one = this.#rule(`item${this.rules.length}`, expression);
        return `(${one} (${this.#literal(form.separator)} ${one})*)`;
      }
    }
  }

  async #writeAll(forms: readonly TextForm[]): Promise<string[]> {
    const written: string[] = [];
    for (const form of forms) written.push(await this.write(form));
    return written;
  }

  /** The library's rules for a schema, under names of their own. */
  async #json(schema: string): Promise<string> {
    const known = this.#names.get(schema);
    if (known !== undefined) return known;
    const grammar = await this.library.Grammar.fromJSONSchema(
      schema,
      true,
      undefined,
      undefined,
      true,
      MOST_WHITESPACE,
    );
    const prefix = `json${this.rules.length}_`;
    // Names stand beside literals and character classes, which stay as they are.
    const text = grammar.toString().replaceAll(
      /"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|[A-Za-z_]\w*/g,
      (word) => /^["[]/.test(word) ? word : prefix + word,
    );
    grammar.dispose();
    this.rules.push(text);
    this.#names.set(schema, `${prefix}root`);
    return `${prefix}root`;
  }

  /**
   * All texts that do not hold another one: the automaton that searches for it, a rule a state,
   * without the last state.
   */
  #without(searched: string): string {
    const known = this.#names.get(`not ${searched}`);
    if (known !== undefined) return known;
    const prefix = `not${this.rules.length}_`;
    const letters = [...new Set(searched)];
    for (let state = 0; state < searched.length; state++) {
      const begun = searched.slice(0, state);
      const steps = letters.flatMap((letter) => {
        const next = longestEnd(begun + letter, searched);
        return next === searched.length ? [] : [`[${escape(letter)}] ${prefix}${next}`];
      });
      const other = `[^${letters.map(escape).join("")}\\u0001] ${prefix}0`;
      this.rules.push(`${prefix}${state} ::= "" | ${[...steps, other].join(" | ")}`);
    }
    this.#names.set(`not ${searched}`, `${prefix}0`);
    return `${prefix}0`;
  }

  #rule(name: string, expression: string): string {
    this.rules.push(`${name} ::= ${expression}`);
    return name;
  }

  #literal(text: string): string {
    const written = this.#marks.reduce(
      (rest, mark) => rest.replaceAll(mark, markText(this.marks.get(mark) ?? 0)),
      text,
    );
    return `"${[...written].map(escape).join("")}"`;
  }
}

/** Length of the longest end of a text with which another begins. */
function longestEnd(text: string, other: string): number {
  for (let length = Math.min(text.length, other.length); length > 0; length--) {
    if (text.endsWith(other.slice(0, length))) return length;
  }
  return 0;
}

/** A character within quotes or brackets. The library reads on while hexadecimal digits come. */
function escape(character: string): string {
  if (/[G-Zg-z _]/.test(character)) return character;
  const code = character.codePointAt(0) ?? 0;
  return code > 0xffff ? character : `\\u${code.toString(16).padStart(4, "0")}`;
}
