/**
 * What does not type-check. An expected error that does not come is itself an error of the checker,
 * so this file compiles only while all of them do come.
 *
 * @module
 */

import assert from "node:assert/strict";
import { z } from "../../deps/zod.ts";
import { type CamelCase, camelCase } from "../../dsl/names.ts";
import { type Pipeline, pipeline } from "../../dsl/pipeline.ts";
import type { SettingsInput } from "../../dsl/settings.ts";
import { ConfigError } from "../../graph/mod.ts";
import { defineTransform, type TransformKey, TRANSFORMS } from "../../transforms/mod.ts";

/** `true` when two types are the same, which no assignment either way can show. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;

const renumber = defineTransform({
  key: "renumber",
  stage: "post_export",
  summary: "Give nodes new numbers",
  config: z.object({ start: z.int().default(0).describe("First number") }),
  plan: () => ({ matches: [] }),
  apply() {},
});

/** Each call must be refused by the type checker, and when it runs all the same. */
const REFUSED: Readonly<Record<string, (p: Pipeline) => unknown>> = {
  // @ts-expect-error a backend that does not exist
  "a misspelt backend": (p) => p.fuseMoe({ backend: "tritn" }),
  // @ts-expect-error in a list of a field
  "a misspelt backend of a layer": (p) => p.fuseMoe({ overrides: [{ match: "*", backend: "x" }] }),
  // @ts-expect-error operands that no kernel has
  "unknown operands": (p) => p.fuseMoe({ operands: "f8" }),
  // @ts-expect-error a field that does not exist
  "a misspelt field": (p) => p.fuseMoe({ bakend: "triton" }),
  // @ts-expect-error a field of another transform
  "a field of another transform": (p) => p.fuseGemms({ backend: "triton" }),
  // @ts-expect-error a type that the field does not have
  "a number for a switch": (p) => p.fuseGemms({ enabled: 1 }),
  // @ts-expect-error a stage that does not exist
  "a misspelt stage": (p) => p.fuseGemms({ stage: "compyle" }),
  // @ts-expect-error a transform that does not exist
  "a misspelt key": (p) => p.disable("fuse_mo"),
  // @ts-expect-error a setting that does not exist
  "a misspelt setting": (p) => p.settings({ maxSeqLength: 4 }),
  // @ts-expect-error a text where a number belongs
  "a text for a number": (p) => p.settings({ maxSeqLen: "4" }),
  // @ts-expect-error an executor that does not exist
  "a misspelt executor": (p) => p.settings({ executor: "cuda" }),
  // @ts-expect-error a value that the short name's field does not take
  "a wrong value of a short name": (p) => p.settings({ kvCacheDtype: "f64" }),
  // @ts-expect-error a field that the definition does not have
  "a misspelt field of a used transform": (p) => p.use(renumber, { begin: 1 }),
};

for (const [what, call] of Object.entries(REFUSED)) {
  Deno.test(`pipeline refuses ${what} when it runs, too`, () => {
    assert.throws(() => call(pipeline()), ConfigError);
  });
}

Deno.test("pipeline() has no method of a misspelt transform", () => {
  // @ts-expect-error there is no such method
  assert.equal(pipeline().fuseMo, undefined);
});

Deno.test("pipeline() has a method for every registered transform, and they chain", () => {
  const methods: Readonly<Record<TransformKey, CamelCase<TransformKey>>> = Object.fromEntries(
    Object.keys(TRANSFORMS).map((key) => [key, camelCase(key)]),
  ) as Record<TransformKey, CamelCase<TransformKey>>;
  for (const [key, method] of Object.entries(methods)) {
    const set = pipeline()[method]({ enabled: false });
    assert.deepEqual(set.resolve().originOf(`transforms.${key}.enabled`), {
      layer: "code",
      call: `${method}()`,
    });
  }
});

Deno.test("CamelCase<> and the types of methods are what editors show", () => {
  const checks: readonly true[] = [
    true satisfies Same<CamelCase<"quantize_mxfp4_moe">, "quantizeMxfp4Moe">,
    true satisfies Same<ReturnType<Pipeline["fuseMoe"]>, Pipeline>,
    true satisfies Same<SettingsInput["maxBatchSize"], number | undefined>,
  ];
  assert.equal(camelCase("quantize_mxfp4_moe"), "quantizeMxfp4Moe");
  assert.equal(checks.length, 3);
});
