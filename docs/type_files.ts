/**
 * TypeScript types of what schemas describe: the fields of every transform and the settings, with their
 * descriptions where editors show them. Types that are written out also make the library quick to check
 * for those who import it.
 *
 * @module
 */

import { z } from "../deps/zod.ts";
import { camelCase, SETTING_NAMES, settingsSchema, SHORTCUTS } from "../dsl/mod.ts";
import { moeBackendNames } from "../kernels/mod.ts";
import { type AnyTransform, baseConfigSchema, STAGES, TRANSFORMS } from "../transforms/mod.ts";

/** Width that `deno fmt` breaks lines at. */
const LINE = 100;

/** Every generated TypeScript file and its content. */
export function typeFiles(): Readonly<Record<string, string>> {
  return {
    "transforms/fields.ts": fieldsFile(),
    "dsl/transform_methods.ts": methodsFile(),
    "dsl/setting_types.ts": settingsFile(),
  };
}

/** Whether a type is what a schema takes or what it gives. */
type Side = "input" | "output";

function fieldsFile(): string {
  const fields = Object.values<AnyTransform>(TRANSFORMS).map(({ key, config }) => {
    const own = members(Object.entries(config.shape), "input");
    return `  readonly ${key}: Partial<BaseConfig>${
      own && ` & {\n${own.replaceAll(/^(?=.)/gm, "  ")}  }`
    };\n`;
  });
  return file(
    "Fields of transforms as a pipeline takes them",
    'import type { MoeBackendName } from "../kernels/mod.ts";\nimport type { Stage } from "./core/stage.ts";',
    typeAlias(
      "BaseConfig",
      "Values of the fields that every transform has.",
      members(Object.entries(baseConfigSchema.shape), "output"),
    ),
    typeAlias(
      "FieldsByTransform",
      "Fields of every transform, its own and those of all, by its key.",
      fields.join(""),
    ),
    `${doc("Key of a registered transform.")}
export type TransformKey = keyof FieldsByTransform;`,
    `${doc("Fields of a transform in a configuration: its own and those of every transform.")}
export type TransformFields<Key extends TransformKey> = FieldsByTransform[Key];`,
  );
}

function methodsFile(): string {
  const methods = Object.values<AnyTransform>(TRANSFORMS).map(({ key, summary }) =>
    `${doc(`${summary}.`, "  ")}
  ${camelCase(key)}(fields?: FieldsByTransform["${key}"]): Pipeline;\n`
  );
  return file(
    "Methods of pipelines, one for each transform",
    'import type { FieldsByTransform } from "../transforms/mod.ts";',
    interfaceText(
      "TransformMethods<Pipeline>",
      "One method for each registered transform: `fuse_moe` is `fuseMoe({ .. })`.",
      methods.join(""),
    ),
  );
}

function settingsFile(): string {
  const settings = SETTING_NAMES.map((name) =>
    [camelCase(name), settingsSchema.shape[name]] as const
  );
  const shortcuts = Object.entries(SHORTCUTS).map(([name, [key, field]]) =>
    `${doc(`Stands for \`${field}\` of \`${key}\`.`, "  ")}
  readonly ${camelCase(name)}?: FieldsByTransform["${key}"]["${field}"];\n`
  );
  return file(
    "Settings of pipelines",
    'import type { FieldsByTransform } from "../transforms/mod.ts";',
    typeAlias("Settings", "Values of all settings.", members(settings, "output")),
    interfaceText(
      "SettingsInput",
      "What `pipeline().settings({ .. })` takes.",
      members(settings, "input") + shortcuts.join(""),
    ),
  );
}

function interfaceText(head: string, about: string, body: string): string {
  return `${doc(about)}\nexport interface ${head} {${body && `\n${body}`}}`;
}

/** An object type that, unlike an interface, is assignable to a record of unknown. */
function typeAlias(name: string, about: string, body: string): string {
  return `${doc(about)}\nexport type ${name} = {\n${body}};`;
}

function members(fields: readonly (readonly [string, z.core.$ZodType])[], side: Side): string {
  return fields.map(([name, schema]) => {
    const field = jsonSchema(schema, side);
    const isOptional = side === "input" && !z.safeParse(schema, undefined).error;
    const standard = field.default === undefined || field.default === null
      ? ""
      : `; default ${JSON.stringify(field.default)}`;
    const about = `${field.description ?? name}${side === "input" ? standard : ""}.`;
    return `${doc(about, "  ")}\n  readonly ${name}${isOptional ? "?" : ""}: ${typeText(field)}${
      isOptional ? " | undefined" : ""
    };\n`;
  }).join("");
}

/** The part of a JSON Schema that types are made of. */
interface FieldSchema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly FieldSchema[];
  readonly items?: FieldSchema;
  readonly properties?: Readonly<Record<string, FieldSchema>>;
  readonly required?: readonly string[];
  readonly default?: unknown;
  readonly description?: string;
}

function jsonSchema(schema: z.core.$ZodType, side: Side): FieldSchema {
  return z.toJSONSchema(schema, { io: side }) as FieldSchema;
}

/** Choices that have a type of their own. */
const NAMED = new Map([[moeBackendNames().join(), "MoeBackendName"], [STAGES.join(), "Stage"]]);

function typeText(field: FieldSchema): string {
  if (field.enum) {
    const name = NAMED.get(field.enum.join());
    return name ?? field.enum.map((value) => JSON.stringify(value)).join(" | ");
  }
  if (field.anyOf) return field.anyOf.map(typeText).join(" | ");
  if (Array.isArray(field.type)) return field.type.map((type) => typeText({ type })).join(" | ");
  switch (field.type) {
    case "integer":
    case "number":
      return "number";
    case "array":
      return listText(typeText(field.items ?? {}));
    case "object":
      return field.properties ? objectText(field) : "Readonly<Record<string, unknown>>";
    case "boolean":
    case "string":
    case "null":
      return field.type;
    default:
      return "unknown";
  }
}

function listText(item: string): string {
  return item.includes(" | ") ? `readonly (${item})[]` : `readonly ${item}[]`;
}

function objectText({ properties = {}, required = [] }: FieldSchema): string {
  const fields = Object.entries(properties).map(([name, field]) => {
    const type = typeText(field);
    return required.includes(name)
      ? `readonly ${name}: ${type}`
      : `readonly ${name}?: ${type} | undefined`;
  });
  return `{ ${fields.join("; ")} }`;
}

/** A doc comment, broken into lines where it is long. */
function doc(text: string, indent = ""): string {
  const line = `${indent}/** ${text} */`;
  if (line.length <= LINE) return line;
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    const fits = last !== undefined && `${indent} * ${last} ${word}`.length <= LINE;
    if (fits) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return [`${indent}/**`, ...lines.map((each) => `${indent} * ${each}`), `${indent} */`].join("\n");
}

function file(about: string, imports: string, ...blocks: readonly string[]): string {
  const head =
    `/**\n * ${about}. Written by \`deno task gen\` from the schemas.\n *\n * @module\n */`;
  return `${[head, imports, ...blocks].join("\n\n")}\n`;
}
