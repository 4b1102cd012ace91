/**
 * Reads YAML into an overlay. Every value remembers its line, and everything that is wrong with a
 * text is found in one go.
 *
 * @module
 */

import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Node,
  parseDocument,
  visit,
  type YAMLMap,
} from "../deps/yaml.ts";
import { messageOf } from "../graph/mod.ts";
import type { Issue } from "./issue.ts";
import { LayerBuilder, type Writer } from "./layer.ts";
import { type Origin, SourceText } from "./origin.ts";
import type { Overlay } from "./overlay.ts";

/** What a YAML text says. */
export interface YamlLayer {
  readonly overlay: Overlay;
  readonly issues: readonly Issue[];
  /** `empty` when the text says `yaml_default: null`; undefined when it says nothing about it. */
  readonly base?: "default" | "empty";
}

/** The key that says what lies below a file: the defaults, or with null nothing. */
const BASE_KEY = "yaml_default";

/** How often values may be repeated by aliases of aliases. */
const MAX_ALIASES = 100;

/** Reads a text; `layer` is who its values come from. */
export function readYaml(source: SourceText, layer: "default" | "file" = "file"): YamlLayer {
  const builder = new LayerBuilder();
  const document = parseDocument(source.text, {
    prettyErrors: false,
    version: "1.2",
    merge: true,
    uniqueKeys: true,
  });
  const problems = [...document.errors, ...document.warnings];
  if (problems.length > 0) {
    const issues = problems.map(({ message, code, pos: [start, end] }) => {
      const text = source.text.slice(start).match(/^[\w-]+/)?.[0] ?? "";
      return {
        code: "config/yaml",
        path: "",
        problem: YAML_ERRORS[code]?.(text) ?? `expected YAML: ${lowerFirst(message)}`,
        place: source.place(start, text === "" ? end : start + text.length),
      };
    });
    return { overlay: builder.overlay, issues };
  }
  const issues = findAliasIssues(document, source);
  const root = document.contents;
  if (issues.length > 0 || root === null || (isScalar(root) && root.value === null)) {
    return { overlay: builder.overlay, issues };
  }
  return readRoot(new YamlTree(document, source, layer), root, builder);
}

/** Aliases of nothing, of what they are part of, or too many of them: the reader only throws. */
function findAliasIssues(document: Document, source: SourceText): Issue[] {
  let last: readonly [number, number] = [0, 1];
  const issue = (problem: string, [start, end]: readonly [number, number]): Issue => ({
    code: "config/yaml",
    path: "",
    problem,
    place: source.place(start, end),
  });
  const issues: Issue[] = [];
  visit(document, {
    Alias(_, alias, ancestors) {
      last = rangeOf(alias) ?? last;
      const target = alias.resolve(document);
      if (target !== undefined && !ancestors.includes(target)) return;
      issues.push(issue(`expected an anchor of an earlier value, got *${alias.source}`, last));
    },
  });
  if (issues.length > 0) return issues;
  try {
    document.toJS({ maxAliasCount: MAX_ALIASES });
    return [];
  } catch (error) {
    return [issue(`expected YAML: ${lowerFirst(messageOf(error))}`, last)];
  }
}

function readRoot(tree: YamlTree, root: Node, builder: LayerBuilder): YamlLayer {
  if (!isMap(root)) {
    builder.refuse([], {
      code: "config/invalid",
      at: [],
      problem: "expected a mapping of settings and transforms",
    }, tree.writer());
    return { overlay: builder.overlay, issues: builder.issues };
  }
  let base: YamlLayer["base"];
  for (const [name, value] of Object.entries(tree.toJs())) {
    if (name !== BASE_KEY) builder.write([name], value, tree.writer(name));
    else if (value === null) base = "empty";
    else if (value === "default") base = "default";
    else {
      builder.refuse([name], {
        code: "config/invalid",
        at: [],
        problem: `expected default or null, got ${JSON.stringify(value)}`,
        hint: "Give other defaults as the first of several files, with yaml_default: null in it",
      }, tree.writer(name));
    }
  }
  return { overlay: builder.overlay, issues: builder.issues, ...(base && { base }) };
}

/** A document whose parts are found by their path. */
class YamlTree {
  constructor(
    readonly document: Document,
    readonly source: SourceText,
    readonly layer: "default" | "file",
  ) {}

  toJs(): Record<string, unknown> {
    return this.document.toJS({ maxAliasCount: MAX_ALIASES }) as Record<string, unknown>;
  }

  /** Writes the values below a top-level name. */
  writer(...root: readonly string[]): Writer {
    const place = (at: readonly PropertyKey[], isName: boolean) => {
      const [start, end] = this.#range([...root, ...at], isName);
      return this.source.place(start, end);
    };
    return { place, origin: (at) => this.#origin(this.#range([...root, ...at], false)[0]) };
  }

  #origin(offset: number): Origin {
    const { line, column } = this.source.position(offset);
    const file = this.source.name;
    return this.layer === "default"
      ? { layer: "default", file, line }
      : { layer: "file", file, line, column };
  }

  /** Offsets of a value or of its name; of the nearest part around it where it has none. */
  #range(path: readonly PropertyKey[], isName: boolean): readonly [number, number] {
    let node: unknown = this.document.contents;
    let range: readonly [number, number] = [0, 1];
    for (const [i, name] of path.entries()) {
      const parent = isAlias(node) ? node.resolve(this.document) : node;
      const isLast = i === path.length - 1;
      if (isMap(parent)) {
        const pair = findPair(parent, String(name), this.document);
        range = rangeOf(pair?.key) ?? range;
        node = pair?.value;
      } else if (isSeq(parent)) node = parent.items[Number(name)];
      else node = undefined;
      if (!(isLast && isName)) range = rangeOf(node) ?? range;
    }
    return range;
  }
}

/** The entry of a name, also one that `<<` brings in. */
function findPair(
  map: YAMLMap,
  name: string,
  document: Document,
): YAMLMap["items"][number] | undefined {
  const direct = map.items.find(({ key }) => isScalar(key) && String(key.value) === name);
  if (direct) return direct;
  for (const { key, value } of map.items) {
    if (!isScalar(key) || key.source !== "<<" || key.type !== "PLAIN") continue;
    const merged = isAlias(value) ? value.resolve(document) : value;
    const found = isMap(merged) ? findPair(merged, name, document) : undefined;
    if (found) return found;
  }
  return undefined;
}

/** Where a node's own characters are; an empty value has none. */
function rangeOf(node: unknown): readonly [number, number] | undefined {
  if (!isScalar(node) && !isMap(node) && !isSeq(node) && !isAlias(node)) return undefined;
  const [start, end] = node.range ?? [0, 0];
  return end > start ? [start, end] : undefined;
}

/** Errors of the YAML reader in our words; `text` is the word that the error points at. */
const YAML_ERRORS: Readonly<Record<string, (text: string) => string>> = {
  DUPLICATE_KEY: (text) => `expected every key once, got "${text}" again`,
  TAB_AS_INDENT: () => "expected spaces in front of a line, got a tab",
  MULTIPLE_DOCS: () => "expected one document, got several",
  TAG_RESOLVE_FAILED: () => "expected a plain value, got a tag that is not known",
};

function lowerFirst(text: string): string {
  return text.replace(/^./, (letter) => letter.toLowerCase());
}
