/**
 * The commands that the documents tell their readers to type.
 *
 * @module
 */

/** A command of a document. */
export interface DocCommand {
  /** Where it stands, such as `README.md:12`. */
  readonly place: string;
  readonly words: readonly string[];
}

/** A block of shell commands. */
const BLOCK = /^[ \t]*```(?:sh|bash)\n([^]*?)^[ \t]*```/gm;

/** A command in the middle of a sentence. */
const INLINE = /`((?:deno|mixline|npx) [^`\n]+)`/g;

/** The commands of a Markdown text, one for each line of its shell blocks and for each code in its sentences. */
export function docCommands(path: string, text: string): DocCommand[] {
  const placeOf = (index: number) => `${path}:${text.slice(0, index).split("\n").length}`;
  const commands: DocCommand[] = [];
  for (const { 0: block, 1: body, index } of text.matchAll(BLOCK)) {
    let at = index + block.indexOf(body);
    for (const line of body.replaceAll("\\\n", "  ").split("\n")) {
      const words = shellWords(line);
      if (words.length > 0) commands.push({ place: placeOf(at), words });
      at += line.length + 1;
    }
  }
  const sentences = text.replaceAll(
    /^[ \t]*```[^]*?^[ \t]*```/gm,
    (block) => block.replaceAll(/[^\n]/g, " "),
  );
  for (const { 1: line, index } of sentences.matchAll(INLINE)) {
    commands.push({ place: placeOf(index), words: shellWords(line) });
  }
  return commands;
}

/** Splits a line as a shell does, with quotes and without a comment or a redirection to a file. */
export function shellWords(line: string): string[] {
  const words: string[] = [];
  for (const [token] of line.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g)) {
    if (token.startsWith("#")) break;
    words.push(token.replaceAll(/'([^']*)'|"([^"]*)"/g, (_, single, double) => single ?? double));
  }
  const redirected = words.indexOf(">");
  return redirected < 0 ? words : words.slice(0, redirected);
}
