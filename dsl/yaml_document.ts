/**
 * Parses YAML and says what of it no configuration can have: wrong syntax, depth without end, keys
 * that are not plain values, duplicate keys, aliases of nothing or of a value that contains them.
 * Files, flags and variables all go through here.
 *
 * @module
 */

import {
  Composer,
  CST,
  type Document,
  isAlias,
  isScalar,
  Lexer,
  type Node,
  type Pair,
  Parser,
  visit,
  type YAMLError,
  type YAMLMap,
} from "../deps/yaml.ts";
import { messageOf } from "../graph/mod.ts";
import { showName } from "./excerpt.ts";

/** How deep lists and mappings may lie in each other; a pipeline needs six. */
const MAX_DEPTH = 64;

/** How many aliases a text may have, and how often values may be repeated by aliases of aliases. */
const MAX_ALIASES = 100;

/** Characters of a message of the YAML reader that are shown. */
const MESSAGE_LENGTH = 160;

/** Offsets of the characters that something is about. */
export type Range = readonly [start: number, end: number];

/** Something in a text that is wrong, whatever the text is for. */
export interface YamlProblem {
  readonly problem: string;
  readonly range: Range;
  readonly hint?: string;
}

/** A text as YAML. */
export interface YamlDocument {
  readonly document: Document;
  /** The value in plain objects; undefined when there are problems. */
  readonly value: unknown;
  readonly problems: readonly YamlProblem[];
}

/** Parses a text. It never throws, and its time grows with the text's length alone. */
export function parseYaml(text: string): YamlDocument {
  const tokens = readTokens(text);
  const composer = new Composer({
    prettyErrors: false,
    version: "1.2",
    merge: true,
    // The reader compares each key with each other one; `checkKeys` finds them by name.
    uniqueKeys: false,
    // Its warnings go to the process's stderr.
    logLevel: "error",
  });
  const tooDeep = findTooDeep(tokens);
  const documents = [...composer.compose(tooDeep ? [] : tokens, true, text.length)];
  const [document] = documents;
  if (tooDeep) return { document, value: undefined, problems: [tooDeep] };
  const problems = [
    ...[...document.errors, ...document.warnings].map((error) => describeError(error, text)),
    ...documents.slice(1, 2).map(({ range }): YamlProblem => ({
      problem: "expected one document, got several",
      range: [range[0], range[0] + 3],
    })),
  ];
  if (problems.length === 0) problems.push(...checkTree(document));
  if (problems.length > 0) return { document, value: undefined, problems };
  try {
    const value: unknown = document.toJS({ maxAliasCount: MAX_ALIASES });
    return { document, value, problems };
  } catch (error) {
    // Aliases of aliases without end, and `<<` of something that is not a mapping.
    const problem = `expected YAML: ${lowerFirst(messageOf(error))}`;
    return { document, value: undefined, problems: [{ problem, range: lastAlias(document) }] };
  }
}

/** The tokens of a text, or of its beginning up to where it is deeper than any configuration. */
function readTokens(text: string): CST.Token[] {
  const parser = new Parser();
  const tokens: CST.Token[] = [];
  for (const lexeme of new Lexer().lex(text)) {
    tokens.push(...parser.next(lexeme));
    // It descends through all that is open again for each token, and a text can exhaust the stack.
    if (parser.stack.length > 4 * MAX_DEPTH) break;
  }
  tokens.push(...parser.end());
  return tokens;
}

function lastAlias(document: Document): Range {
  let range: Range = [0, 1];
  visit(document, { Alias: (_, alias) => void (range = rangeOf(alias) ?? range) });
  return range;
}

/** Where a node's own characters are; an empty value has none. */
export function rangeOf(node: Node): Range | undefined {
  const [start, end] = node.range ?? [0, 0];
  return end > start ? [start, end] : undefined;
}

/** The first list or mapping that lies too deep: what comes after the parser recurses. */
function findTooDeep(tokens: readonly CST.Token[]): YamlProblem | undefined {
  const open: (readonly [token: CST.Token, depth: number])[] = tokens.map((token) => [token, 0]);
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [token, depth] = next;
    if (token.type === "document" && token.value) open.push([token.value, depth]);
    if (!CST.isCollection(token)) continue;
    if (depth >= MAX_DEPTH) {
      return {
        problem: `expected lists and mappings at most ${MAX_DEPTH} deep, got more`,
        range: [token.offset, token.offset + 1],
      };
    }
    for (const { key, value } of token.items) {
      if (key) open.push([key, depth + 1]);
      if (value) open.push([value, depth + 1]);
    }
  }
  return undefined;
}

/** Errors of the YAML reader, reworded; `word` is the one that the error points at. */
const YAML_ERRORS: Readonly<Record<string, (word: string) => string>> = {
  TAB_AS_INDENT: () => "expected spaces in front of a line, got a tab",
  TAG_RESOLVE_FAILED: () => "expected a plain value, got a tag that is not known",
};

function describeError({ message, code, pos: [start, end] }: YAMLError, text: string): YamlProblem {
  const pattern = /[\w-]+/y;
  pattern.lastIndex = start;
  const word = pattern.exec(text)?.[0] ?? "";
  return {
    problem: YAML_ERRORS[code]?.(showName(word)) ??
      `expected YAML: ${showName(lowerFirst(message), MESSAGE_LENGTH)}`,
    range: [start, word === "" ? end : start + word.length],
  };
}

/** What the parser takes and a configuration does not. */
function checkTree(document: Document): YamlProblem[] {
  const problems: YamlProblem[] = [];
  const anchors = new Map<string, Node>();
  let aliases = 0;
  const remember = (node: Node & { anchor?: string }) => {
    if (node.anchor !== undefined) anchors.set(node.anchor, node);
  };
  visit(document, {
    Scalar: (_, scalar) => remember(scalar),
    Seq: (_, list) => remember(list),
    Map(_, map) {
      remember(map);
      problems.push(...checkKeys(map));
    },
    Alias(_, alias, ancestors) {
      const range = rangeOf(alias) ?? [0, 1];
      const target = anchors.get(alias.source);
      if (++aliases === MAX_ALIASES + 1) {
        problems.push({ problem: `expected at most ${MAX_ALIASES} aliases, got more`, range });
      } else if (target === undefined || ancestors.includes(target)) {
        const got = showName(`*${alias.source}`);
        problems.push({
          problem: `expected an anchor of an earlier value, got ${got}`,
          range,
          hint: `Quote a text that begins with *: "${got}"`,
        });
      }
    },
  });
  return problems;
}

/** Keys that are lists, mappings or aliases, and keys that stand twice. */
function checkKeys(map: YAMLMap): YamlProblem[] {
  const names = new Set<string>();
  return map.items.flatMap(({ key }: Pair): YamlProblem[] => {
    if (key === null || key === undefined) return [];
    const range = rangeOf(key as Node) ?? rangeOf(map) ?? [0, 1];
    if (!isScalar(key)) {
      const got = isAlias(key) ? "an alias" : "a list or a mapping";
      return [{ problem: `expected a plain key, got ${got}`, range }];
    }
    const name = String(key.value);
    if (names.has(name)) {
      return [{ problem: `expected every key once, got "${showName(name)}" again`, range }];
    }
    names.add(name);
    return [];
  });
}

function lowerFirst(text: string): string {
  return text.replace(/^./, (letter) => letter.toLowerCase());
}
