/**
 * The configurations in `configs/`: they load, say what they set and no more, and the schema that
 * their first line names knows every name in them.
 *
 * @module
 */

import assert from "node:assert/strict";
import { parse } from "../../deps/yaml.ts";
import { inapplicableSettings } from "../../dsl/autodeploy.ts";
import { pipeline } from "../../dsl/pipeline.ts";
import { type JsonSchema, pipelineJsonSchema } from "../../dsl/schema.ts";
import { topLevelNames } from "../../dsl/settings.ts";
import { notApplicableKeys, transformKeys } from "../../transforms/mod.ts";

const CONFIGS = new URL("../../configs/", import.meta.url);

const names = [...Deno.readDirSync(CONFIGS)].map(({ name }) => name)
  .filter((name) => name.endsWith(".yaml"));

for (const name of names) {
  Deno.test(`configs/${name} loads and resolves without notes`, () => {
    const url = new URL(name, CONFIGS);
    const text = Deno.readTextFileSync(url);
    assert.ok(text.startsWith("# yaml-language-server: $schema=./schema.json\n"));
    const { notes } = pipeline.fromYaml(url).resolve();
    assert.deepEqual(notes, []);
    assert.deepEqual(problems(parse(text), pipelineJsonSchema()), []);
  });
}

Deno.test("configs/ has the examples that the documentation names", () => {
  assert.deepEqual(
    ["default.yaml", "exact.yaml", "per_layer.yaml", "triton.yaml", "trtllm.yaml"]
      .filter((name) => !names.includes(name)),
    [],
  );
});

Deno.test("pipelineJsonSchema() has every name that YAML may have, and refuses others", () => {
  const schema = pipelineJsonSchema();
  const { transforms, ...top } = propertiesOf(schema);
  assert.deepEqual(
    Object.keys(top).sort(),
    ["yaml_default", ...topLevelNames(), ...inapplicableSettings()].sort(),
  );
  assert.deepEqual(
    Object.keys(propertiesOf(transforms)).sort(),
    [...transformKeys(), ...notApplicableKeys()].sort(),
  );
  const wrong = {
    modle: 1,
    operands: "f8",
    transforms: { fuse_mo: {}, fuse_moe: { bakend: 1, backend: "tritn", operands: "f8" } },
  };
  assert.deepEqual(problems(wrong, schema), [
    "modle",
    "operands",
    "transforms.fuse_mo",
    "transforms.fuse_moe.bakend",
    "transforms.fuse_moe.backend",
    "transforms.fuse_moe.operands",
  ]);
});

Deno.test("pipelineJsonSchema() takes what pipelines write, nulls included", () => {
  const p = pipeline().fuseMoe({ backend: "triton" }).set("transforms.fuse_moe.overrides", null)
    .set("world_size", 2);
  for (const yaml of [p.toYaml(), p.toYaml({ resolved: true })]) {
    assert.deepEqual(problems(parse(yaml), pipelineJsonSchema()), []);
  }
});

function propertiesOf(schema: JsonSchema): Record<string, JsonSchema> {
  return schema.properties as Record<string, JsonSchema>;
}

/** Paths of names that a schema does not have, and of words that are not among its words. */
function problems(value: unknown, schema: JsonSchema, path = ""): string[] {
  if (Array.isArray(schema.enum) && !schema.enum.includes(value)) return [path];
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
  return Object.entries(value).flatMap(([name, field]) => {
    const known = propertiesOf(schema)?.[name];
    const at = path === "" ? name : `${path}.${name}`;
    if (known) return problems(field, known, at);
    return schema.additionalProperties === false ? [at] : [];
  });
}
