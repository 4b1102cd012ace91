/**
 * Forms of texts: what an answer has to look like when a call of a tool or a JSON value is demanded.
 * Whoever chooses tokens turns a form into a grammar.
 *
 * @module
 */

import { RequestError } from "../../../graph/mod.ts";
import { isRecord } from "../messages.ts";

/** A JSON Schema. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** What a text may be; a string is itself, and the marks of a format in it are tokens. */
export type TextForm =
  | string
  /** JSON of a schema. */
  | { readonly kind: "json"; readonly schema: JsonSchema }
  /** Any text without this one, and without marks. */
  | { readonly kind: "until"; readonly end: string }
  /** A few spaces and line ends, or none. */
  | { readonly kind: "space" }
  /** One after the other. */
  | { readonly kind: "all"; readonly forms: readonly TextForm[] }
  /** One of them. */
  | { readonly kind: "any"; readonly forms: readonly TextForm[] }
  /** One or more of a form, with the separator between, which is not empty. */
  | { readonly kind: "list"; readonly form: TextForm; readonly separator: string };

/** A function that may be called. */
export interface CallableTool {
  readonly name: string;
  /** Schema of its arguments, an object. */
  readonly parameters: JsonSchema;
}

/** JSON of a schema. */
export function json(schema: JsonSchema): TextForm {
  return { kind: "json", schema };
}

/** Any text in front of `end`, which is not part of it. */
export function until(end: string): TextForm {
  return { kind: "until", end };
}

/** Forms one after the other. */
export function inOrder(...forms: readonly TextForm[]): TextForm {
  return { kind: "all", forms };
}

/** One of some forms. */
export function oneOf(...forms: readonly TextForm[]): TextForm {
  return { kind: "any", forms };
}

/** Calls of some tools: one, or with a separator one or more. */
export function calls(
  tools: readonly CallableTool[],
  write: (tool: CallableTool) => TextForm,
  separator?: string,
): TextForm {
  const form = oneOf(...tools.map(write));
  return separator === undefined ? form : { kind: "list", form, separator };
}

/** A call whose arguments are JSON between two texts. */
export function jsonCall(begin: string, { parameters }: CallableTool, end: string): TextForm {
  return inOrder(begin, json(parameters), end);
}

/** How a notation writes an argument: around a value that ends where `end` begins. */
export interface ArgumentNotation {
  readonly begin: (name: string) => string;
  readonly end: string;
}

/**
 * The arguments of a tool one by one, for notations that write texts bare and all else as JSON:
 * those of the schema, in its order; what is not required may be left out.
 */
export function namedArguments(
  { parameters }: CallableTool,
  { begin, end }: ArgumentNotation,
): TextForm {
  const { properties = {}, required = [], $defs, definitions } = parameters;
  const demanded: readonly unknown[] = Array.isArray(required) ? required : [];
  const shared = {
    ...($defs !== undefined && { $defs }),
    ...(definitions !== undefined && { definitions }),
  };
  const forms = Object.entries(isRecord(properties) ? properties : {}).map(([name, schema]) => {
    const own = isRecord(schema) ? { ...schema, ...shared } : {};
    const form = inOrder(begin(name), valueForm(name, own, end), end);
    return demanded.includes(name) ? form : oneOf(form, "");
  });
  return forms.length === 0 ? "" : inOrder(...forms);
}

/** Words that bound a text, which grammars follow within JSON alone. */
const BOUNDS_OF_TEXTS = ["pattern", "format", "minLength", "maxLength"];

function valueForm(name: string, schema: JsonSchema, end: string): TextForm {
  if (![schema.type].flat().includes("string")) return json(schema);
  const values = "const" in schema ? [schema.const] : schema.enum;
  if (Array.isArray(values)) return oneOf(...values.filter((value) => typeof value === "string"));
  const word = BOUNDS_OF_TEXTS.find((each) => each in schema);
  if (word === undefined) return until(end);
  throw new RequestError(
    "request/tool-schema",
    `Cannot force a call of a tool: expected argument "${name}" without "${word}", as this model ` +
      "writes texts bare, got one with it",
    { details: { param: "tools" } },
  );
}
