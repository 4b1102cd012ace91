/**
 * Writes what is derived from the registries: `configs/schema.json`, which editors read, the pages of
 * `docs/reference`, and types. With `--check` it writes nothing and fails where a file is not
 * current.
 *
 * @module
 */

import { pipelineJsonSchema } from "../dsl/mod.ts";
import {
  type AnyTransform,
  baseConfigSchema,
  notApplicable,
  notApplicableKeys,
  STAGES,
  TRANSFORMS,
} from "../transforms/mod.ts";
import { checkpointsPage } from "./checkpoints_page.ts";
import { page, table } from "./markdown.ts";
import { referencePages } from "./reference_pages.ts";
import { typeFiles } from "./type_files.ts";

const ROOT = new URL("../", import.meta.url);

/** The part of a JSON Schema that the pages show. */
interface FieldSchema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly FieldSchema[];
  readonly items?: FieldSchema;
  readonly default?: unknown;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, FieldSchema>>;
  readonly definitions?: Readonly<Record<string, FieldSchema>>;
}

if (import.meta.main) Deno.exit(await main(Deno.args));

/** Every generated file and its content. */
export function generatedFiles(): Readonly<Record<string, string>> {
  return {
    "configs/schema.json": `${JSON.stringify(pipelineJsonSchema(), null, 2)}\n`,
    "docs/checkpoints.md": checkpointsPage(),
    "docs/reference/transforms.md": transformsPage(),
    ...typeFiles(),
    ...Object.fromEntries(
      Object.entries(referencePages()).map(([name, text]) => [`docs/reference/${name}`, text]),
    ),
  };
}

async function main(args: readonly string[]): Promise<number> {
  let isCurrent = true;
  for (const [path, content] of Object.entries(generatedFiles())) {
    const file = new URL(path, ROOT);
    if (await Deno.readTextFile(file).catch(() => "") === content) continue;
    isCurrent = false;
    if (args.includes("--check")) {
      console.error(`${path} is not current: run deno task gen`);
      continue;
    }
    await Deno.mkdir(new URL(".", file), { recursive: true });
    await Deno.writeTextFile(file, content);
    console.error(`${path} written`);
  }
  return isCurrent || !args.includes("--check") ? 0 : 1;
}

function transformsPage(): string {
  const schema: FieldSchema = pipelineJsonSchema();
  const schemas = schema.properties?.transforms.properties ?? {};
  const stages = STAGES.flatMap((stage) => {
    const transforms = Object.values<AnyTransform>(TRANSFORMS)
      .filter((transform) => transform.stage === stage)
      .map((transform) => transformSection(transform, schemas[transform.key]));
    return transforms.length === 0 ? [] : [`## Stage \`${stage}\``, ...transforms];
  });
  return page(
    "Transforms",
    "Stages run in the order of this page. A transform is configured under `transforms.<key>` in YAML, " +
      "and in TypeScript by the method of the same name in camelCase.",
    "## Fields of every transform",
    fieldTable(schema.definitions ?? {}),
    ...stages,
    "## Not applicable on WebGPU",
    "Keys of TensorRT-LLM AutoDeploy that are accepted, reported and skipped.",
    table(
      ["key", "why"],
      notApplicableKeys().map((key) => [`\`${key}\``, notApplicable(key)?.reason ?? ""]),
    ),
  );
}

function transformSection(
  { key, summary, config, base }: AnyTransform,
  schema: FieldSchema,
): string {
  const own = Object.keys(config.shape).map((name) => [name, schema.properties?.[name] ?? {}]);
  const changed = Object.entries(base ?? {}).filter(([name]) => name in baseConfigSchema.shape)
    .map(([name, value]) => `\`${name}: ${JSON.stringify(value)}\``);
  return [
    `### ${key}`,
    `${summary}.`,
    ...(own.length > 0 ? [fieldTable(Object.fromEntries(own))] : []),
    ...(changed.length > 0 ? [`Other defaults here: ${changed.join(", ")}.`] : []),
  ].join("\n\n");
}

function fieldTable(fields: Readonly<Record<string, FieldSchema>>): string {
  return table(
    ["field", "type", "default", "meaning"],
    Object.entries(fields).map(([name, field]) => [
      `\`${name}\``,
      typeText(field),
      field.default === undefined ? "" : `\`${JSON.stringify(field.default)}\``,
      field.description ?? "",
    ]),
  );
}

/** `auto \| triton`, `integer`, `list of string`; that null goes back to the default is not said. */
function typeText(field: FieldSchema): string {
  if (field.enum) {
    return field.enum.filter((value) => value !== null).map((value) => `\`${value}\``).join(" or ");
  }
  if (field.anyOf) {
    const kinds = field.anyOf.filter(({ type }) => type !== "null").map(typeText);
    return [...new Set(kinds)].join(" or ");
  }
  const types = [field.type ?? "object"].flat().filter((type) => type !== "null");
  return types.map((type) => type === "array" ? `list of ${typeText(field.items ?? {})}` : type)
    .join(" or ");
}
