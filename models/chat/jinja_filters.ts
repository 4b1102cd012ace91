/**
 * Filters of Jinja2 that the library does not have, has for fewer types, or does not bound.
 *
 * @module
 */

import type { TemplateBudget } from "./template_budget.ts";
import { joinValues, replaceText, strip } from "./python_methods.ts";
import {
  entriesOf,
  isList,
  isMap,
  isText,
  isUndefined,
  listOf,
  pythonString,
  pythonType,
  toValue,
  type Value,
} from "./python_values.ts";

/** Arguments of a filter. */
export interface FilterCall {
  readonly args: readonly Value[];
  readonly keywords: ReadonlyMap<string, Value>;
  readonly budget: TemplateBudget;
}

type Filter = (value: Value, call: FilterCall) => Value | undefined;

/** Gives undefined where the library's own filter does. */
const FILTERS: Readonly<Record<string, Filter>> = {
  string: (value, { budget }) => {
    if (isText(value)) return value;
    const text = pythonString(value);
    budget.spend(text.length);
    return toValue(text);
  },
  list: (value) => listOf(itemsOf(value)),
  default: defaultTo,
  d: defaultTo,
  count: (value) => toValue(lengthOf(value)),
  length: (value) => toValue(lengthOf(value)),
  trim: (value, { args }) => toValue(strip(pythonString(value), args[0], true, true)),
  join: join,
  indent: indent,
  replace: (value, { args, budget }) => toValue(replaceText(pythonString(value), args, budget)),
  first: (value) => itemsOf(value)[0] ?? toValue(undefined),
  last: (value) => itemsOf(value).at(-1) ?? toValue(undefined),
  reverse: (value) =>
    isText(value)
      ? toValue([...value.value].reverse().join(""))
      : listOf(itemsOf(value).toReversed()),
  upper: (value) => toValue(pythonString(value).toUpperCase()),
  lower: (value) => toValue(pythonString(value).toLowerCase()),
  capitalize: (value) => {
    const text = pythonString(value);
    return toValue(text.charAt(0).toUpperCase() + text.slice(1).toLowerCase());
  },
  items: (value) => {
    if (isUndefined(value)) return listOf([]);
    if (!isMap(value)) throw new TypeError(`items needs a mapping, got ${pythonType(value)}`);
    return listOf(entriesOf(value).map(([key, item]) => listOf([toValue(key), item])));
  },
  map: (value, call) => {
    const name = call.args[0];
    if (!name || !isText(name)) return undefined;
    const filter = FILTERS[name.value];
    if (!filter) throw new TypeError(`map("${name.value}") is not known`);
    return listOf(
      itemsOf(value).map((item) => filter(item, { ...call, args: call.args.slice(1) }) ?? item),
    );
  },
  // A character has no attributes.
  selectattr: (value) => isText(value) ? listOf([]) : undefined,
  rejectattr: (value) => isText(value) ? listOf(itemsOf(value)) : undefined,
  sum: (value) => toValue(itemsOf(value).reduce((sum, item) => sum + Number(item.value), 0)),
  min: (value) => extreme(value, (a, b) => a < b),
  max: (value) => extreme(value, (a, b) => a > b),
  round: (value, { args }) => {
    const factor = 10 ** Number(args[0]?.value ?? 0);
    return toValue(Math.round(Number(value.value) * factor) / factor);
  },
  int: (value, { args }) =>
    isUndefined(value) || value.type === "NullValue" ? args[0] ?? toValue(0) : undefined,
  escape: (value) => toValue(escapeHtml(pythonString(value))),
  e: (value) => toValue(escapeHtml(pythonString(value))),
  safe: (value) => value,
  tojson: (_value, { keywords }) => {
    const indent = Number(keywords.get("indent")?.value ?? 0);
    if (indent > 16) throw new RangeError(`tojson indents by at most 16, got ${indent}`);
    return undefined;
  },
};

/** Applies a filter of this table; undefined where there is none, or the library's does. */
export function applyFilter(name: string, value: Value, call: FilterCall): Value | undefined {
  return Object.hasOwn(FILTERS, name) ? FILTERS[name](value, call) : undefined;
}

/** What Python iterates over: items, characters, keys; nothing of an undefined value. */
export function itemsOf(value: Value): Value[] {
  if (isList(value)) return [...value.value];
  if (isText(value)) return [...value.value].map(toValue);
  if (isMap(value)) return entriesOf(value).map(([key]) => toValue(key));
  if (isUndefined(value)) return [];
  throw new TypeError(`'${pythonType(value)}' object is not iterable`);
}

function lengthOf(value: Value): number {
  if (isText(value)) return [...value.value].length;
  if (isMap(value)) return value.value.size;
  return itemsOf(value).length;
}

function defaultTo(value: Value, { args, keywords }: FilterCall): Value {
  const otherwise = args[0] ?? keywords.get("default_value") ?? toValue("");
  const falsy = (args[1] ?? keywords.get("boolean"))?.value === true;
  return isUndefined(value) || (falsy && !value.__bool__().value) ? otherwise : value;
}

function join(value: Value, { args, keywords, budget }: FilterCall): Value {
  const separator = args[0] ?? keywords.get("d") ?? toValue("");
  const attribute = args[1] ?? keywords.get("attribute");
  const items = itemsOf(value).map((item) =>
    attribute && isMap(item)
      ? (item.value.get(pythonString(attribute)) as Value | undefined) ?? toValue(undefined)
      : item
  );
  return toValue(joinValues(items.map(pythonString), pythonString(separator), budget));
}

function indent(value: Value, { args, keywords, budget }: FilterCall): Value {
  const width = args[0] ?? keywords.get("width") ?? toValue(4);
  const first = (args[1] ?? keywords.get("first"))?.value === true;
  const blank = (args[2] ?? keywords.get("blank"))?.value === true;
  const lines = pythonString(value).split("\n");
  const size = isText(width) ? width.value.length : Number(width.value);
  budget.spend(lines.length * size);
  const padding = isText(width) ? width.value : " ".repeat(Math.max(size, 0));
  const text = lines.map((line, index) =>
    (index === 0 && !first) || (line === "" && !blank) ? line : padding + line
  );
  return toValue(text.join("\n"));
}

function extreme(value: Value, wins: (a: number, b: number) => boolean): Value {
  const items = itemsOf(value);
  if (items.length === 0) return toValue(undefined);
  return items.reduce((best, item) => wins(Number(item.value), Number(best.value)) ? item : best);
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&#34;",
  "'": "&#39;",
};

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (char) => ENTITIES[char]);
}
