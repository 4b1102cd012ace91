/**
 * A backend of one's own, as a user of the package registers it: known to the types, to YAML and to
 * the schema.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type JsonSchema, pipelineJsonSchema } from "../../dsl/schema.ts";
import { ConfigError, pipeline, registerMoeBackend } from "../../mod.ts";

declare module "../../mod.ts" {
  interface MoeBackendTypes {
    tests_only_dsl: true;
  }
}

Deno.test("registerMoeBackend() makes a backend known to pipelines, YAML and the schema", () => {
  const yaml = "transforms:\n  fuse_moe:\n    backend: tests_only_dsl\n";
  assert.throws(() => pipeline.fromYaml(yaml), ConfigError);
  registerMoeBackend({
    name: "tests_only_dsl",
    summary: "refuses every layer",
    supports: () => "it is a test",
    compile: () => [],
  });
  assert.ok(pipeline.fromYaml(yaml).equals(pipeline().fuseMoe({ backend: "tests_only_dsl" })));
  assert.throws(
    () => pipeline.fromYaml(yaml.replace("only", "nly")),
    /expected .*tests_only_dsl, got "tests_nly_dsl"$/,
  );
  const at = (schema: JsonSchema, name: string) =>
    (schema.properties as Record<string, JsonSchema>)[name];
  const field = at(at(at(pipelineJsonSchema(), "transforms"), "fuse_moe"), "backend");
  assert.ok((field.enum as string[]).includes("tests_only_dsl"));
});
