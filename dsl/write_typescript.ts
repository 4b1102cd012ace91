/**
 * Writes a pipeline as a TypeScript program.
 *
 * @module
 */

import { ConfigError } from "../graph/mod.ts";
import { BUILTIN_BACKENDS, moeBackendNames } from "../kernels/mod.ts";
import { configSchema, findTransform, TRANSFORMS } from "../transforms/mod.ts";
import { camelCase } from "./names.ts";
import type { Leaf, Overlay, Plain, TransformEntry } from "./overlay.ts";
import { settingsSchema } from "./settings.ts";

/** How the program looks. */
export interface TypeScriptOptions {
  /** What it imports `pipeline` from; default `@mixline/mixline`. */
  readonly module?: string;
  /** A comment before the calls of each transform, with its summary; default false. */
  readonly comments?: boolean;
}

/** The program: exports the pipeline as `deployment`, and generates when it is the main module. */
export function overlayToTypeScript(
  overlay: Overlay,
  base: "default" | "empty",
  options: TypeScriptOptions,
): string {
  const calls = [
    ...settingsCalls(overlay.settings),
    ...transformCalls(overlay, options.comments ?? false),
  ];
  const start = base === "empty" ? "pipeline.empty()" : "pipeline()";
  const chain = calls.length === 0
    ? start
    : [start, ...calls.map((call) => `  ${call}`)].join("\n");
  const model = overlay.settings.get("model")?.value ?? null;
  const target = model === null ? `{ model: Deno.args[0] }` : "";
  const prompt = `Deno.args[${model === null ? 1 : 0}] ?? "Once upon a time"`;
  return `import { pipeline } from ${JSON.stringify(options.module ?? "@mixline/mixline")};

export const deployment = ${chain};

if (import.meta.main) {
  await using engine = await deployment.deploy(${target});
  for await (const { text } of engine.generate(${prompt})) {
    Deno.stdout.writeSync(new TextEncoder().encode(text));
  }
}
`;
}

function settingsCalls(settings: ReadonlyMap<string, Leaf>): string[] {
  const fits = ([name, { value }]: [string, Leaf]) => {
    const shape: Readonly<Record<string, unknown>> = settingsSchema.shape;
    return Object.hasOwn(shape, name) && accepts(settingsSchema.shape, name, value);
  };
  const typed = [...settings].filter(fits);
  const others = [...settings].filter((entry) => !fits(entry));
  const call = typed.map(([name, { value }]) => [camelCase(name), value] as const);
  return [
    ...(call.length > 0 ? [`.settings(${formatLiteral(Object.fromEntries(call))})`] : []),
    ...others.map(([name, { value }]) => setCall(name, value)),
  ];
}

function transformCalls({ transforms }: Overlay, comments: boolean): string[] {
  return [...transforms].flatMap(([key, entry]) => {
    if (entry.definition) throw unregistered(key);
    const calls = transformCall(key, entry);
    const summary = findTransform(key)?.summary;
    return comments && summary !== undefined
      ? [`// ${summary.replaceAll(/\s+/g, " ")}.\n  ${calls[0]}`, ...calls.slice(1)]
      : calls;
  });
}

/** The calls for one transform; the first one also sets its position. */
function transformCall(key: string, { fields }: TransformEntry): string[] {
  const definition = Object.hasOwn(TRANSFORMS, key) ? findTransform(key) : undefined;
  const written = [...fields].map(([name, { value }]) => [name, value] as const);
  if (!definition) return [setCall(`transforms.${key}`, Object.fromEntries(written))];
  if (written.length === 1 && written[0][0] === "enabled" && written[0][1] !== null) {
    return [`.${written[0][1] ? "enable" : "disable"}(${JSON.stringify(key)})`];
  }
  const shape = configSchema(definition).shape;
  const isTyped = (name: string, value: Plain) =>
    accepts(shape, name, value) && !namesPluginBackend(value);
  const typed = written.filter(([name, value]) => isTyped(name, value));
  const others = written.filter(([name, value]) => !isTyped(name, value));
  const literal = typed.length === 0 ? "" : formatLiteral(Object.fromEntries(typed));
  return [
    `.${camelCase(key)}(${literal})`,
    ...others.map(([name, value]) => setCall(`transforms.${key}.${name}`, value)),
  ];
}

/** Whether a value type-checks as a field: null may be written anywhere, and resets the field. */
function accepts(shape: Readonly<Record<string, unknown>>, name: string, value: Plain): boolean {
  const schema = shape[name] as { safeParse(value: unknown): { success: boolean } } | undefined;
  return schema !== undefined && schema.safeParse(value).success;
}

/** Whether a backend of a plug-in is in a value: a program's types do not know it. */
function namesPluginBackend(value: Plain): boolean {
  if (typeof value === "string") {
    return !BUILTIN_BACKENDS.has(value) && moeBackendNames().some((name) => name === value);
  }
  if (typeof value !== "object" || value === null) return false;
  return Object.values(value).some((part) => namesPluginBackend(part));
}

function setCall(path: string, value: Plain): string {
  return `.set(${JSON.stringify(path)}, ${formatLiteral(value)})`;
}

/** A value as a TypeScript literal on one line. */
function formatLiteral(value: Plain): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(formatLiteral).join(", ")}]`;
  const entries = Object.entries(value).map(([name, field]) => {
    // In a literal a bare __proto__ would set the prototype.
    const isPlain = /^[A-Za-z_$][\w$]*$/.test(name) && name !== "__proto__";
    const key = isPlain ? name : name === "__proto__" ? '["__proto__"]' : JSON.stringify(name);
    return `${key}: ${formatLiteral(field)}`;
  });
  return entries.length === 0 ? "{}" : `{ ${entries.join(", ")} }`;
}

function unregistered(key: string): ConfigError {
  return new ConfigError(
    "config/unregistered-transform",
    `Cannot write transform "${key}" as TypeScript: expected a registered one, got one passed to use()`,
    {
      hint: "Write the other transforms, and add use() to the program by hand",
      details: { transform: key },
    },
  );
}
