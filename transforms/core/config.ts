/**
 * The whole configuration of a transform: the fields every transform has and its own, as one
 * strict schema. YAML, the DSL, the JSON Schema and the optimizer read the same one.
 *
 * @module
 */

import { z } from "../../deps/zod.ts";
import { ConfigError, invariant, nearest } from "../../graph/mod.ts";
import type { BaseConfig } from "../fields.ts";
import { baseConfigSchema, type TransformDefinition } from "./transform.ts";

/** Any transform, without its own types. */
export type AnyTransform = TransformDefinition<string, z.ZodRawShape, unknown>;

/** Parsed fields of any transform. */
export type AnyConfig = BaseConfig & Record<string, unknown>;

/** Schemas made so far, with the own fields that each was made for: those may change (see `fuse_moe`). */
const schemas = new WeakMap<AnyTransform, { own: z.ZodObject; schema: z.ZodObject }>();

/**
 * The schema of all fields of a transform. Base fields have the transform's own defaults; unknown
 * fields are refused.
 *
 * @example
 * ```ts
 * import { z } from "../../deps/zod.ts";
 * import { configSchema } from "./config.ts";
 * import { defineTransform } from "./transform.ts";
 * const noop = defineTransform({
 *   key: "noop",
 *   stage: "export",
 *   summary: "Change nothing",
 *   base: { enabled: false },
 *   config: z.object({ loud: z.boolean().default(true).describe("Say so") }),
 *   plan: () => ({ matches: [] }),
 *   apply() {},
 * });
 * const config = configSchema(noop).parse({});
 * console.assert(config.stage === "export" && config.enabled === false && config.loud === true);
 * ```
 */
export function configSchema(definition: AnyTransform): z.ZodObject {
  const own = definition.config;
  const known = schemas.get(definition);
  if (known?.own === own) return known.schema;
  const base: Record<string, z.core.$ZodType> = {};
  const defaults: Readonly<Record<string, unknown>> = {
    ...definition.base,
    stage: definition.stage,
  };
  for (const [field, type] of Object.entries(baseConfigSchema.shape)) {
    invariant(
      !(field in own.shape),
      `transform "${definition.key}" redefines "${field}"`,
    );
    base[field] = field in defaults ? withDefault(type, defaults[field]) : type;
  }
  const schema = z.strictObject({ ...base, ...own.shape });
  schemas.set(definition, { own, schema });
  return schema;
}

/**
 * Values of a transform's fields, defaults filled in.
 *
 * @throws {ConfigError} `config/unknown-field` or `config/invalid`, naming transform and field.
 */
export function parseConfig(definition: AnyTransform, fields: unknown): AnyConfig {
  const schema = configSchema(definition);
  const result = schema.safeParse(fields);
  if (result.success) return result.data as AnyConfig;
  throw configError(definition.key, schema, result.error.issues[0]);
}

function configError(key: string, schema: z.ZodObject, issue: z.core.$ZodIssue): ConfigError {
  if (issue.code === "unrecognized_keys") {
    const field = issue.keys[0];
    const near = nearest(field, Object.keys(schema.shape));
    return new ConfigError(
      "config/unknown-field",
      `Cannot read transform "${key}": expected a known field, got "${field}"`,
      {
        hint: near
          ? `Did you mean "${near}"?`
          : `Choose one of ${Object.keys(schema.shape).join(", ")}`,
        details: { transform: key, field },
      },
    );
  }
  const path = issue.path.join(".");
  return new ConfigError(
    "config/invalid",
    `Cannot read field "${path}" of transform "${key}": ${issue.message}`,
    { details: { transform: key, field: path } },
  );
}

function withDefault(type: z.core.SomeType, value: unknown): z.ZodType {
  const plain = type instanceof z.ZodDefault ? type.def.innerType : type;
  const described = (plain as z.ZodType).default(value);
  const description = (type as z.ZodType).description;
  return description === undefined ? described : described.describe(description);
}
