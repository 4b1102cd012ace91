/**
 * Texts with mistakes in them, as fingers, editors, merges and converters make them. Seeded: a seed
 * always gives the same text.
 *
 * @module
 */

/** Numbers in [0, 1) that a seed determines (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Pieces that mean something in YAML, or nothing anywhere. */
const PIECES: readonly string[] = [
  ..."{}[]:,?-*&!|>'\"%@`#=~.\\\t\n ",
  ..."\0\x07\x1b\x7f\u0085\u2028\u202e\ufeff\ud800🙂é",
  "? ",
  "? ? ",
  "- ",
  ": ",
  "*x",
  "&x ",
  "<<: ",
  "<<: *x",
  "!!binary ",
  "!!set ",
  "!tag ",
  "---\n",
  "...\n",
  "%YAML 1.1\n",
  "|\n",
  ">-\n",
  "null",
  "true",
  "off",
  "1e999",
  "-0",
  ".nan",
  "0x7f",
  "9007199254740993",
  "2026-11-23",
  "${oc.env:HOME}",
  "__proto__",
  "constructor",
  "{a: ",
  "[[",
  "\u001b[31m",
];

/** One to four random changes of a text. */
export function mutateText(text: string, random: () => number): string {
  const changes = 1 + Math.floor(random() * 4);
  let changed = text;
  for (let i = 0; i < changes; i++) changed = pick(CHANGES, random)(changed, random);
  return changed;
}

type Change = (text: string, random: () => number) => string;

const CHANGES: readonly Change[] = [
  // A piece put in, one that replaces characters, characters that are gone.
  (text, random) => splice(text, random, 0, pick(PIECES, random)),
  (text, random) => splice(text, random, 1 + Math.floor(random() * 4), pick(PIECES, random)),
  (text, random) => splice(text, random, 1 + Math.floor(random() * 12), ""),
  // A slipped finger: two letters change places.
  (text, random) => {
    const at = Math.floor(random() * text.length);
    return text.slice(0, at) + (text[at + 1] ?? "") + (text[at] ?? "") + text.slice(at + 2);
  },
  // Lines that are gone, doubled, moved, indented, or cut off.
  (text, random) => editLines(text, random, () => []),
  (text, random) => editLines(text, random, (line) => [line, line]),
  (text, random) => editLines(text, random, (line) => [`${" ".repeat(random() * 7)}${line}`]),
  (text, random) => editLines(text, random, (line) => [line.trimStart()]),
  (text, random) =>
    editLines(text, random, (line) => [line.replace(/:.*/, `: ${pick(PIECES, random)}`)]),
  (text, random) => text.slice(0, Math.floor(random() * text.length)),
  // All on one line, as JSON is.
  (text) => text.replaceAll("\n", " "),
  // A piece many times over: depth, length, or number without end.
  (text, random) => {
    const times = [3, 30, 300, 3000][Math.floor(random() * 4)];
    return splice(text, random, 0, pick(PIECES, random).repeat(times));
  },
];

function splice(text: string, random: () => number, length: number, piece: string): string {
  const at = Math.floor(random() * (text.length + 1));
  return text.slice(0, at) + piece + text.slice(at + length);
}

function editLines(
  text: string,
  random: () => number,
  edit: (line: string) => readonly string[],
): string {
  const lines = text.split("\n");
  const at = Math.floor(random() * lines.length);
  return lines.flatMap((line, i) => i === at ? edit(line) : [line]).join("\n");
}

function pick<Item>(items: readonly Item[], random: () => number): Item {
  return items[Math.floor(random() * items.length)];
}
