/**
 * Reads YAML into an overlay. Every value remembers its line, and everything that is wrong with a
 * text is found at once.
 *
 * @module
 */

import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  type YAMLMap,
} from "../deps/yaml.ts";
import { formatGot, type Issue } from "./issue.ts";
import { LayerBuilder, type Writer } from "./layer.ts";
import { type Origin, SourceText } from "./origin.ts";
import type { Overlay } from "./overlay.ts";
import { parseYaml, type Range, rangeOf as rangeOfNode } from "./yaml_document.ts";

/** A name and its value in a mapping. */
type Entry = YAMLMap["items"][number];

/** What a YAML text says. */
export interface YamlLayer {
  readonly overlay: Overlay;
  readonly issues: readonly Issue[];
  /** `empty` when the text says `yaml_default: null`; undefined when it says nothing about it. */
  readonly base?: "default" | "empty";
}

/** The key that says what lies below a file: the defaults, or with null nothing. */
const BASE_KEY = "yaml_default";

/** Reads a text; `layer` is who its values come from. */
export function readYaml(source: SourceText, layer: "default" | "file" = "file"): YamlLayer {
  const builder = new LayerBuilder();
  const { document, value, problems } = parseYaml(source.text);
  const issues = problems.map(({ problem, range: [start, end], hint }): Issue => ({
    code: "config/yaml",
    path: "",
    problem,
    ...(hint === undefined ? {} : { hint }),
    location: () => source.location(start, end),
  }));
  const root = document.contents;
  if (issues.length > 0 || root === null || value === null) {
    return { overlay: builder.overlay, issues };
  }
  return readRoot(new YamlTree(document, source, layer), value, builder);
}

function readRoot(tree: YamlTree, root: unknown, builder: LayerBuilder): YamlLayer {
  if (typeof root !== "object" || root === null || Array.isArray(root)) {
    builder.refuse([], {
      code: "config/invalid",
      at: [],
      problem: "expected a mapping of settings and transforms",
    }, tree.writer());
    return { overlay: builder.overlay, issues: builder.issues };
  }
  let base: YamlLayer["base"];
  // What a plug-in brings may be used anywhere in the file.
  const entries = Object.entries(root).sort(([a], [b]) =>
    Number(b === "plugins") - Number(a === "plugins")
  );
  for (const [name, value] of entries) {
    if (name !== BASE_KEY) builder.write([name], value, tree.writer(name));
    else if (value === null) base = "empty";
    else if (value === "default") base = "default";
    else {
      builder.refuse([name], {
        code: "config/invalid",
        at: [],
        problem: `expected default or null, got ${formatGot(value)}`,
        hint: "Give other defaults as the first of several files, with yaml_default: null in it",
      }, tree.writer(name));
    }
  }
  return { overlay: builder.overlay, issues: builder.issues, ...(base && { base }) };
}

/** A document whose parts are found by their path. */
class YamlTree {
  readonly #pairs = new WeakMap<YAMLMap, ReadonlyMap<string, Entry>>();

  constructor(
    readonly document: Document,
    readonly source: SourceText,
    readonly layer: "default" | "file",
  ) {}

  /** Writes the values below a top-level name. */
  writer(...root: readonly string[]): Writer {
    const location = (at: readonly PropertyKey[], isName: boolean) => {
      const [start, end] = this.#range([...root, ...at], isName);
      return this.source.location(start, end);
    };
    const { folder } = this.source;
    return {
      location,
      origin: (at) => this.#origin(this.#range([...root, ...at], false)[0]),
      ...(folder !== undefined && { folder }),
    };
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
        const pair = this.#pairsOf(parent).get(String(name));
        range = rangeOf(pair?.key) ?? range;
        node = pair?.value;
      } else if (isSeq(parent)) node = parent.items[Number(name)];
      else node = undefined;
      if (!(isLast && isName)) range = rangeOf(node) ?? range;
    }
    return range;
  }

  /** The entries of a mapping by name, with those that `<<` brings in. */
  #pairsOf(map: YAMLMap): ReadonlyMap<string, Entry> {
    const known = this.#pairs.get(map);
    if (known) return known;
    const pairs = new Map<string, Entry>();
    this.#pairs.set(map, pairs);
    for (const { key, value } of map.items) {
      if (!isScalar(key) || key.source !== "<<" || key.type !== "PLAIN") continue;
      const merged = isAlias(value) ? value.resolve(this.document) : value;
      if (!isMap(merged)) continue;
      for (const [name, pair] of this.#pairsOf(merged)) pairs.set(name, pair);
    }
    for (const pair of map.items) if (isScalar(pair.key)) pairs.set(String(pair.key.value), pair);
    return pairs;
  }
}

/** Offsets of a part of a document; undefined for a part without a node or without characters. */
function rangeOf(part: unknown): Range | undefined {
  return isNode(part) ? rangeOfNode(part) : undefined;
}
