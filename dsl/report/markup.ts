/**
 * HTML and SVG from templates in which every inserted text is escaped: names of tensors and models
 * come from files of strangers.
 *
 * @module
 */

/** Text that is markup already. Made by {@linkcode markup} and {@linkcode trusted} alone. */
export class Markup {
  constructor(readonly text: string) {}
}

type Inserted = Markup | string | number | readonly (Markup | string | number)[];

/**
 * A template whose insertions are escaped, unless they are markup; lists are joined.
 *
 * @example
 * ```ts
 * import { markup } from "./markup.ts";
 * console.assert(markup`<b>${"<i>"}</b>`.text === "<b>&lt;i&gt;</b>");
 * ```
 */
export function markup(parts: TemplateStringsArray, ...inserted: readonly Inserted[]): Markup {
  const text = parts.map((part, i) => i === 0 ? part : formatInserted(inserted[i - 1]) + part);
  return new Markup(text.join(""));
}

/** Text of this program, such as its style sheet. */
export function trusted(text: string): Markup {
  return new Markup(text);
}

function formatInserted(value: Inserted): string {
  if (value instanceof Markup) return value.text;
  if (typeof value === "object") return value.map(formatInserted).join("");
  return String(value).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;").replaceAll("'", "&#39;");
}
