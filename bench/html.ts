/**
 * Pieces of HTML that the sections of a report are made of.
 *
 * @module
 */

/** Text as it is shown. */
export function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}

/** A table that scrolls where it is wider than the page; its first columns, one or two, are words. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  words: 1 | 2 = 2,
): string {
  const line = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}>${escape(cell)}</${tag}>`).join("")}</tr>`;
  return `<div class="wide"><table class="words-${words}"><thead>${line(head, "th")}</thead><tbody>
${rows.map((row) => line(row, "td")).join("\n")}
</tbody></table></div>`;
}

/** `12.3 %` */
export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
