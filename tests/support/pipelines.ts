/**
 * Random pipelines, made of everything that the registries know.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import fc from "../../deps/fast_check.ts";
import { inapplicableSettings } from "../../dsl/autodeploy.ts";
import { type Pipeline, pipeline } from "../../dsl/pipeline.ts";
import { fieldSchemas, type JsonSchema } from "../../dsl/schema.ts";
import { settingsSchema } from "../../dsl/settings.ts";
import {
  allTransforms,
  configSchema,
  findTransform,
  notApplicableKeys,
} from "../../transforms/mod.ts";

/** One value that somebody writes. */
interface Write {
  readonly path: string;
  readonly value: unknown;
}

/** Values that YAML can hold and that are no references. */
const plain = fc.jsonValue({ maxDepth: 2 }).filter((value) =>
  !JSON.stringify(value).includes("${")
);

/** Plug-ins: modules of examples, with a transform, a backend and a sampler. */
const PLUGINS = ["04_own_transform", "05_own_backend", "07_own_sampler"].map((name) =>
  fileURLToPath(new URL(`../../examples/${name}.ts`, import.meta.url))
);
const [PLUGIN] = PLUGINS;
pipeline().settings({ plugins: [PLUGIN] });

const settingWrites = fc.oneof(
  {
    arbitrary: writesOf(
      "",
      settingsSchema.omit({ plugins: true }).shape,
      fieldSchemas(settingsSchema),
    ),
    weight: 9,
  },
  fc.record({ path: fc.constant("plugins"), value: fc.constantFrom([], [PLUGIN], null) }),
);

const fieldWrites = fc.oneof(
  ...allTransforms().map((definition) => {
    const schema = configSchema(definition);
    return writesOf(`transforms.${definition.key}.`, schema.shape, fieldSchemas(schema));
  }),
);

const inapplicableWrites: fc.Arbitrary<Write> = fc.oneof(
  fc.record({ path: fc.constantFrom(...inapplicableSettings()), value: plain }),
  fc.record({
    path: fc.constantFrom(...notApplicableKeys()).map((key) => `transforms.${key}`),
    value: fc.dictionary(fc.stringMatching(/^[a-z_]+$/), plain),
  }),
);

/** A pipeline on the defaults, or on nothing, with some values over it. */
export const anyPipeline: fc.Arbitrary<Pipeline> = fc.tuple(
  fc.boolean(),
  fc.array(
    fc.oneof(settingWrites, { arbitrary: fieldWrites, weight: 4 }, inapplicableWrites),
    { maxLength: 12 },
  ),
).map(([isEmpty, writes]) =>
  writes.reduce(
    (lower, { path, value }) => lower.set(path, value),
    isEmpty ? pipeline.empty() : pipeline(),
  )
);

/**
 * Pipelines with plug-ins, and values for what these bring. What this registers, stays: only tests that
 * run behind those of messages may call it.
 */
export function pluggedPipelines(): fc.Arbitrary<Pipeline> {
  pipeline().settings({ plugins: PLUGINS });
  const own = ["scale_logits", "without_letter"].map((key) => {
    const definition = findTransform(key);
    if (!definition) throw new Error(`The examples bring no ${key}`);
    const schema = configSchema(definition);
    return writesOf(`transforms.${key}.`, schema.shape, fieldSchemas(schema));
  });
  const backends: fc.Arbitrary<Write> = fc.constantFrom(
    { path: "transforms.fuse_moe.backend", value: "plain_loop" },
    {
      path: "transforms.fuse_moe.overrides",
      value: [{ match: "model.layers.0.*", backend: "plain_loop" }],
    },
  );
  const writes = fc.array(fc.oneof(...own, backends), { minLength: 1, maxLength: 4 });
  return fc.tuple(anyPipeline, fc.subarray(PLUGINS, { minLength: 1 }), writes)
    .map(([lower, plugins, values]) =>
      values.reduce(
        (below, { path, value }) => below.set(path, value),
        lower.settings({ plugins }),
      )
    );
}

function writesOf(
  prefix: string,
  shape: Readonly<Record<string, unknown>>,
  schemas: Readonly<Record<string, JsonSchema>>,
): fc.Arbitrary<Write> {
  return fc.oneof(
    ...Object.keys(shape).map((name) =>
      fc.record({ path: fc.constant(prefix + name), value: valuesOf(schemas[name]) })
    ),
  );
}

/** Values that a schema takes. */
function valuesOf(schema: JsonSchema): fc.Arbitrary<unknown> {
  if (Array.isArray(schema.enum)) return fc.constantFrom(...schema.enum);
  if (Array.isArray(schema.anyOf)) return fc.oneof(...schema.anyOf.map(valuesOf));
  const types = [schema.type].flat();
  return fc.oneof(...types.map((type) => valuesOfType(String(type), schema)));
}

function valuesOfType(type: string, schema: JsonSchema): fc.Arbitrary<unknown> {
  const bounds = schema as { minimum?: number; exclusiveMinimum?: number; maximum?: number };
  const { exclusiveMinimum, maximum = 4096 } = bounds;
  // `positive()` says that 0 itself is out.
  const minimum = bounds.minimum ?? exclusiveMinimum ?? 0;
  const minExcluded = exclusiveMinimum !== undefined && minimum <= exclusiveMinimum;
  switch (type) {
    case "null":
      return fc.constant(null);
    case "boolean":
      return fc.boolean();
    case "integer":
      return fc.integer({
        min: Math.max(minimum + (minExcluded ? 1 : 0), -4096),
        max: Math.min(maximum, 4096),
      });
    case "number":
      return fc.double({ min: minimum, minExcluded, max: maximum, noNaN: true });
    case "string":
      return fc.string({ minLength: Number(schema.minLength ?? 1), ...mostLength(schema) })
        .filter((text) => !text.includes("${"));
    case "array":
      return fc.array(valuesOf(schema.items as JsonSchema), { maxLength: 3 });
    case "object":
      return schema.properties === undefined
        ? fc.dictionary(fc.string(), plain, { maxKeys: 3 }).filter((value) =>
          !JSON.stringify(value).includes("${")
        )
        : fc.record(
          Object.fromEntries(
            Object.entries(schema.properties as Record<string, JsonSchema>)
              .map(([name, field]) => [name, valuesOf(field)]),
          ),
        );
    default:
      throw new Error(`no values of type "${type}"`);
  }
}

function mostLength({ maxLength }: JsonSchema): { maxLength?: number } {
  return typeof maxLength === "number" ? { maxLength } : {};
}
