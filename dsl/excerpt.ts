/**
 * Parts of a user's text as messages show them: short, and with nothing in them that a terminal
 * would obey.
 *
 * @module
 */

/** Columns of a line that an excerpt shows. */
const EXCERPT_COLUMNS = 96;

/** Columns in front of what is meant, where the line is longer than that. */
const COLUMNS_BEFORE = 32;

/** Characters of a name that a message shows. */
const NAME_LENGTH = 60;

/** Characters of a path that a message shows. */
const PATH_LENGTH = 120;

/** What moves the cursor, changes colours or the direction of writing, or is not seen at all. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/**
 * A line of a text with carets below it, `3 | backend: tritn`. Of a long line it shows the columns
 * around the first caret. An unprintable character takes one column, as any other, so that the
 * carets stay below what they mean.
 */
export function excerptOf(line: string, column: number, length: number, label: string): string {
  const start = line.length <= EXCERPT_COLUMNS
    ? 0
    : Math.max(0, Math.min(column - 1 - COLUMNS_BEFORE, line.length - EXCERPT_COLUMNS));
  const end = Math.min(line.length, start + EXCERPT_COLUMNS);
  const [before, after] = [start > 0 ? "…" : "", end < line.length ? "…" : ""];
  const shown = before + line.slice(start, end).replace(UNPRINTABLE, picture) + after;
  const offset = column - 1 - start + before.length;
  const carets = Math.max(1, Math.min(length, shown.length - after.length - offset));
  const margin = " ".repeat(label.length);
  return `${label} | ${shown}\n${margin} | ${" ".repeat(offset)}${"^".repeat(carets)}`;
}

/** A sign of one column for a character that cannot be shown; tabs become spaces. */
function picture(character: string): string {
  const code = character.charCodeAt(0);
  if (character === "\t") return " ";
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code === 0x7f ? "\u2421" : "\ufffd".repeat(character.length);
}

/** A name or a value within a message: cut, and unprintable characters written as `\u001b`. */
export function showName(name: string, length = NAME_LENGTH): string {
  const short = name.length <= length ? name : `${name.slice(0, length - 3)}...`;
  return short.replace(
    UNPRINTABLE,
    (character) => `\\u${character.codePointAt(0)?.toString(16).padStart(4, "0")}`,
  );
}

/** A dotted path within a message, `transforms.fuse_moe.overrides[0].match`. */
export function showPath(path: readonly PropertyKey[]): string {
  const text = path.reduce<string>(
    (text, part) =>
      typeof part === "number"
        ? `${text}[${part}]`
        : `${text}${text === "" ? "" : "."}${showName(String(part))}`,
    "",
  );
  return showName(text, PATH_LENGTH);
}
