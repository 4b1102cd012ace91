/**
 * Calls of tools in the notations of models: JSON, and values by key.
 *
 * @module
 */

import { isRecord } from "../messages.ts";
import type { ToolCall } from "./output_format.ts";

/** The JSON value of a text; undefined for anything else. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A call of a JSON value `{ name, arguments }`; some models write `parameters`. */
export function callOf(value: unknown): ToolCall | undefined {
  if (!isRecord(value)) return undefined;
  const { name, arguments: given = value.parameters ?? {} } = value;
  const args = typeof given === "string" ? parseJson(given) : given;
  return typeof name === "string" && name !== "" && isRecord(args)
    ? { name, arguments: args }
    : undefined;
}

/** A call of a name and the JSON of its arguments. */
export function callWith(name: string, json: string): ToolCall | undefined {
  const args = json.trim() === "" ? {} : parseJson(json);
  return name !== "" && isRecord(args) ? { name, arguments: args } : undefined;
}

/** All of some calls, or undefined when there is none or one is malformed. */
export function allCalls(calls: readonly (ToolCall | undefined)[]): ToolCall[] | undefined {
  const read = calls.filter((call) => call !== undefined);
  return read.length > 0 && read.length === calls.length ? read : undefined;
}

const PYTHON_WORDS: Readonly<Record<string, unknown>> = { True: true, False: false, None: null };

/**
 * The value of an argument that was written as bare text. The tool's schema says whether it is a
 * text; without one, what reads as JSON is taken as that.
 */
export function argumentOf(
  text: string,
  name: string,
  tool: string,
  tools: readonly unknown[],
): unknown {
  if (typesOf(name, tool, tools).includes("string")) return text;
  const value = parseJson(text.trim());
  if (value !== undefined) return value;
  return Object.hasOwn(PYTHON_WORDS, text.trim()) ? PYTHON_WORDS[text.trim()] : text;
}

/** The types that a tool's schema allows an argument. */
function typesOf(name: string, tool: string, tools: readonly unknown[]): readonly unknown[] {
  for (const each of tools) {
    const definition = isRecord(each) && isRecord(each.function) ? each.function : each;
    if (!isRecord(definition) || definition.name !== tool) continue;
    const { parameters } = definition;
    const properties = isRecord(parameters) ? parameters.properties : undefined;
    const property = isRecord(properties) ? properties[name] : undefined;
    return isRecord(property) ? [property.type].flat() : [];
  }
  return [];
}
