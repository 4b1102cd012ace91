/**
 * Values of a chat template as Python has them: templates are written for Jinja2, which prints,
 * compares and measures Python objects, and the library's values are JavaScript's.
 *
 * @module
 */

import { Environment } from "../../deps/jinja.ts";

/** Any value of the library's interpreter. */
export type Value = ReturnType<Environment["lookupVariable"]>;
/** A string. */
export type TextValue = Extract<Value, { value: string }>;
/** A list or a tuple. */
export type ListValue = Extract<Value, { value: readonly unknown[] }>;
/** A mapping, or a namespace of the template. */
export type MapValue = Extract<Value, { value: Map<string, unknown> }>;
/** A function: positional values, then one value of keywords where there are any. */
export type FunctionValue = Extract<Value, { value: (...args: never[]) => unknown }>;

/** The value of a JavaScript value. */
export function toValue(value: unknown): Value {
  const environment = new Environment();
  return environment.set("value", value);
}

/** A list of values. */
export function listOf(values: readonly Value[]): Value {
  const list = toValue([]);
  if (isList(list)) list.value.push(...values);
  return list;
}

/** A function that gets the interpreter's own values. */
export function functionOf(call: (args: Value[]) => Value): Value {
  const made = toValue(() => null);
  if (isFunction(made)) made.value = (args) => call(args);
  return made;
}

export function isText(value: Value): value is TextValue {
  return value.type === "StringValue";
}

export function isList(value: Value): value is ListValue {
  return value.type === "ArrayValue" || value.type === "TupleValue";
}

export function isMap(value: Value): value is MapValue {
  return ["ObjectValue", "NamespaceValue", "KeywordArgumentsValue"].includes(value.type);
}

export function isFunction(value: Value): value is FunctionValue {
  return value.type === "FunctionValue";
}

export function isUndefined(value: Value): boolean {
  return value.type === "UndefinedValue";
}

/** True for numbers and booleans, which Python counts as numbers. */
export function isNumeric(value: Value): boolean {
  return ["IntegerValue", "FloatValue", "BooleanValue"].includes(value.type);
}

/** Entries of a mapping. */
export function entriesOf(map: MapValue): [string, Value][] {
  return [...map.value.entries()] as [string, Value][];
}

/** Python's `str(value)`; what Jinja2 prints. */
export function pythonString(value: Value): string {
  return isText(value) ? value.value : isUndefined(value) ? "" : pythonRepr(value);
}

/** Python's `repr(value)`. */
export function pythonRepr(value: Value): string {
  if (isText(value)) return reprOfText(value.value);
  if (isList(value)) {
    const items = value.value.map(pythonRepr).join(", ");
    if (value.type !== "TupleValue") return `[${items}]`;
    return value.value.length === 1 ? `(${items},)` : `(${items})`;
  }
  if (isMap(value)) {
    const items = entriesOf(value).map(([key, item]) => `${reprOfText(key)}: ${pythonRepr(item)}`);
    return `{${items.join(", ")}}`;
  }
  switch (value.type) {
    case "NullValue":
      return "None";
    case "UndefinedValue":
      return "Undefined";
    case "BooleanValue":
      return value.value ? "True" : "False";
    case "FunctionValue":
      return "<function>";
    default:
      return value.toString();
  }
}

const REPR_ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

/** Single quotes unless the text has those and no double ones. */
function reprOfText(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replaceAll(/[\\\n\r\t]/g, (char) => REPR_ESCAPES[char]);
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote;
}

/** Python's `==`: no conversion but between numbers and booleans, lists and mappings by content. */
export function pythonEquals(a: Value, b: Value): boolean {
  if (isNumeric(a) && isNumeric(b)) return Number(a.value) === Number(b.value);
  if (isList(a) && isList(b)) {
    return a.type === b.type && a.value.length === b.value.length &&
      a.value.every((item, index) => pythonEquals(item, b.value[index]));
  }
  if (isMap(a) && isMap(b)) {
    return a.value.size === b.value.size && entriesOf(a).every(([key, item]) => {
      const other = b.value.get(key);
      return other !== undefined && pythonEquals(item, other);
    });
  }
  return a.type === b.type && a.value === b.value;
}

/** Python's name of a value's type, for messages. */
export function pythonType(value: Value): string {
  const names: Readonly<Record<string, string>> = {
    StringValue: "str",
    IntegerValue: "int",
    FloatValue: "float",
    BooleanValue: "bool",
    ArrayValue: "list",
    TupleValue: "tuple",
    ObjectValue: "dict",
    NamespaceValue: "Namespace",
    NullValue: "NoneType",
    UndefinedValue: "Undefined",
    FunctionValue: "function",
  };
  return names[value.type] ?? value.type;
}

/**
 * Characters and nodes of a value, counted until `most`. Lists can hold one another many times, so
 * a value of a few bytes may print as terabytes.
 */
export function sizeOf(value: Value, most: number, depth = 0): number {
  if (depth > 100) throw new RangeError("values are nested more than 100 deep");
  if (isText(value)) return value.value.length + 1;
  if (isList(value)) {
    let size = 1;
    for (const item of value.value) {
      if (size > most) return size;
      size += sizeOf(item, most - size, depth + 1);
    }
    return size;
  }
  if (isMap(value)) {
    let size = 1;
    for (const [key, item] of value.value as Map<string, Value>) {
      if (size > most) return size;
      size += key.length + sizeOf(item, most - size, depth + 1);
    }
    return size;
  }
  return 8;
}
