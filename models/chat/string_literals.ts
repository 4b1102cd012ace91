/**
 * String literals of a template, in the escapes that the library knows.
 *
 * Jinja2 reads them as Python does: a backslash before a line end joins two lines, and one before a
 * character that needs none stays. The library refuses both.
 *
 * @module
 */

/** Escapes that the library knows. */
const KNOWN = "ntrbfv'\"\\xu";

/** The same template with other escapes written in those that the library knows. */
export function normalizeLiterals(source: string): string {
  let result = "";
  for (let at = 0; at < source.length;) {
    const tag = source.slice(at).search(/\{[{%#]/);
    if (tag < 0) return result + source.slice(at);
    result += source.slice(at, at + tag);
    const end = source[at + tag + 1] === "#" ? endOfComment(source, at + tag) : undefined;
    const read = end === undefined ? readTag(source, at + tag) : undefined;
    result += read ? read.text : source.slice(at + tag, end);
    at = read?.end ?? end ?? source.length;
  }
  return result;
}

function endOfComment(source: string, start: number): number {
  const end = source.indexOf("#}", start + 2);
  return end < 0 ? source.length : end + 2;
}

/** A tag from its brace on; braces of mappings within do not end it. */
function readTag(source: string, start: number): { readonly text: string; readonly end: number } {
  let text = source.slice(start, start + 2);
  let depth = 0;
  for (let at = start + 2; at < source.length;) {
    const char = source[at];
    if (char === "'" || char === '"') {
      const literal = readLiteral(source, at);
      text += literal.text;
      at = literal.end;
      continue;
    }
    if (depth === 0 && (source.startsWith("}}", at) || source.startsWith("%}", at))) {
      return { text: text + source.slice(at, at + 2), end: at + 2 };
    }
    if (char === "{") depth++;
    if (char === "}") depth--;
    text += char;
    at++;
  }
  return { text, end: source.length };
}

function readLiteral(source: string, start: number) {
  const quote = source[start];
  let text = quote;
  for (let at = start + 1; at < source.length; at++) {
    const char = source[at];
    if (char === quote) return { text: text + quote, end: at + 1 };
    if (char !== "\\") text += char;
    else if (source[++at] !== "\n") text += escapeOf(source[at] ?? "");
  }
  return { text, end: source.length };
}

function escapeOf(char: string): string {
  if (char === "a") return "\\x07";
  if (char === "0") return "\\x00";
  return KNOWN.includes(char) ? `\\${char}` : `\\\\${char}`;
}
