/**
 * Methods of Python's strings and mappings that templates call and the library does not have, or has with
 * fewer arguments.
 *
 * @module
 */

import type { TemplateBudget } from "./template_budget.ts";
import {
  entriesOf,
  functionOf,
  isList,
  isMap,
  isText,
  listOf,
  type MapValue,
  pythonString,
  pythonType,
  type TextValue,
  toValue,
  type Value,
} from "./python_values.ts";

/** A method of a string: its text, the arguments, and what may be spent. */
type TextMethod = (text: string, args: readonly Value[], budget: TemplateBudget) => unknown;

const TEXT_METHODS: Readonly<Record<string, TextMethod>> = {
  strip: (text, [chars]) => strip(text, chars, true, true),
  lstrip: (text, [chars]) => strip(text, chars, true, false),
  rstrip: (text, [chars]) => strip(text, chars, false, true),
  replace: (text, args, budget) => replaceText(text, args, budget),
  join: (text, [items], budget) => joinValues(textsOf(items, "join"), text, budget),
  splitlines: (text) => text.replace(/(\r\n|\r|\n)$/, "").split(/\r\n|\r|\n/),
  rsplit: (text, [separator, most]) => splitFromRight(text, separator, most),
  partition: (text, [separator]) => partition(text, textOf(separator, "partition"), "first"),
  rpartition: (text, [separator]) => partition(text, textOf(separator, "rpartition"), "last"),
  find: (text, [part]) => text.indexOf(textOf(part, "find")),
  rfind: (text, [part]) => text.lastIndexOf(textOf(part, "rfind")),
  count: (text, [part]) => text.split(textOf(part, "count")).length - 1,
  removeprefix: (text, [part]) => {
    const prefix = textOf(part, "removeprefix");
    return text.startsWith(prefix) ? text.slice(prefix.length) : text;
  },
  removesuffix: (text, [part]) => {
    const suffix = textOf(part, "removesuffix");
    return suffix && text.endsWith(suffix) ? text.slice(0, -suffix.length) : text;
  },
  isdigit: (text) => /^\p{Nd}+$/u.test(text),
  isspace: (text) => text !== "" && strip(text, undefined, true, true) === "",
  isupper: (text) => text !== text.toLowerCase() && text === text.toUpperCase(),
  islower: (text) => text !== text.toUpperCase() && text === text.toLowerCase(),
  capitalize: (text) => text.charAt(0).toUpperCase() + text.slice(1).toLowerCase(),
};

/** Methods of a mapping, which Jinja2 finds before a key of that name when written with a dot. */
const MAP_METHODS: Readonly<Record<string, (map: MapValue, args: readonly Value[]) => Value>> = {
  items: (map) => listOf(entriesOf(map).map(([key, value]) => listOf([toValue(key), value]))),
  keys: (map) => listOf(entriesOf(map).map(([key]) => toValue(key))),
  values: (map) => listOf(entriesOf(map).map(([, value]) => value)),
  get: (map, [key, fallback]) =>
    (map.value.get(pythonString(key)) as Value | undefined) ?? fallback ?? toValue(null),
};

/** The method of a value by its name; undefined where the library's own does, or there is none. */
export function methodOf(value: Value, name: string, budget: TemplateBudget): Value | undefined {
  if (isText(value) && Object.hasOwn(TEXT_METHODS, name)) {
    return functionOf((args) => {
      budget.spend(value.value.length);
      return toValue(TEXT_METHODS[name](value.value, args, budget));
    });
  }
  if (isMap(value) && value.type !== "NamespaceValue" && Object.hasOwn(MAP_METHODS, name)) {
    return functionOf((args) => {
      budget.spend(value.value.size);
      return MAP_METHODS[name](value, args);
    });
  }
}

/** What Python counts as whitespace and JavaScript does not. */
const FURTHER_SPACES = new Set(
  [0x1c, 0x1d, 0x1e, 0x1f, 0x85].map((code) => String.fromCharCode(code)),
);

/** Whitespace as Python has it; a byte-order mark is none. */
function isSpace(char: string): boolean {
  return FURTHER_SPACES.has(char) || (char !== "\uFEFF" && /\s/.test(char));
}

/** Python's `strip`, with any characters. */
export function strip(text: string, chars: Value | undefined, left: boolean, right: boolean) {
  const set = chars && isText(chars) ? new Set(chars.value) : undefined;
  const drops = (char: string) => set ? set.has(char) : isSpace(char);
  let start = 0;
  let end = text.length;
  while (left && start < end && drops(text[start])) start++;
  while (right && end > start && drops(text[end - 1])) end--;
  return text.slice(start, end);
}

/** Python's `replace(old, new, count)`; its cost is known before it is made. */
export function replaceText(text: string, args: readonly Value[], budget: TemplateBudget): string {
  const from = textOf(args[0], "replace");
  const to = textOf(args[1], "replace");
  const keyword = args[2] && isMap(args[2]) ? args[2].value.get("count") as Value : args[2];
  const most = typeof keyword?.value === "number" && keyword.value >= 0 ? keyword.value : Infinity;
  const parts = from === "" ? ["", ...text, ""] : text.split(from);
  const places = Math.min(parts.length - 1, most);
  budget.spend(text.length + places * to.length);
  return parts.slice(0, places + 1).join(to) +
    parts.slice(places + 1).map((part) => from + part).join("");
}

/** Texts with a separator between; its cost is known before it is made. */
export function joinValues(texts: readonly string[], separator: string, budget: TemplateBudget) {
  const length = texts.reduce((sum, each) => sum + each.length + separator.length, 0);
  budget.spend(length);
  return texts.join(separator);
}

function textsOf(value: Value | undefined, method: string): string[] {
  if (value && isList(value)) return value.value.map((item) => textOf(item, method));
  if (value && isText(value)) return [...value.value];
  throw new TypeError(
    `${method}() takes an iterable, got ${value ? pythonType(value) : "nothing"}`,
  );
}

function textOf(value: Value | undefined, method: string): string {
  if (value && isText(value)) return (value as TextValue).value;
  throw new TypeError(`${method}() takes a str, got ${value ? pythonType(value) : "nothing"}`);
}

function splitFromRight(text: string, separator: Value | undefined, most: Value | undefined) {
  const by = separator && isText(separator) ? separator.value : undefined;
  const parts = by === undefined ? strip(text, undefined, true, true).split(/\s+/) : text.split(by);
  const count = typeof most?.value === "number" && most.value >= 0 ? most.value : Infinity;
  const rest = Math.max(parts.length - count, 1);
  return [parts.slice(0, rest).join(by ?? " "), ...parts.slice(rest)];
}

function partition(text: string, separator: string, which: "first" | "last"): string[] {
  const at = which === "first" ? text.indexOf(separator) : text.lastIndexOf(separator);
  if (at < 0) return which === "first" ? [text, "", ""] : ["", "", text];
  return [text.slice(0, at), separator, text.slice(at + separator.length)];
}
