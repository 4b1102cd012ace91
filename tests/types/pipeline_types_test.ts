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
import type { Settings, SettingsInput } from "../../dsl/setting_types.ts";
import type { settingsSchema } from "../../dsl/settings.ts";
import { ConfigError } from "../../graph/mod.ts";
import {
  type BaseConfig,
  type baseConfigSchema,
  defineTransform,
  type FieldsByTransform,
  type TransformKey,
  TRANSFORMS,
} from "../../transforms/mod.ts";
import type { InferredFields } from "../../transforms/registry.ts";

/** `true` when two types are the same, which no assignment either way can show. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;

/** `true` when each type takes what the other does, whatever is readonly. */
type Alike<A, B> = [A] extends [B] ? [B] extends [A] ? true : false : false;

type CamelFields<Fields> = {
  [Name in keyof Fields as Name extends string ? CamelCase<Name> : never]: Fields[Name];
};

type InferredSettings = z.output<typeof settingsSchema>;

/** The types that `deno task gen` writes, against those that the schemas infer; true by key. */
type Written = {
  readonly [Key in TransformKey]: Alike<FieldsByTransform[Key], Deep<InferredFields<Key>>>;
};

/** Lists of a schema are mutable, and take no readonly ones; written types take both. */
type Deep<Type> = Type extends readonly (infer Item)[] ? readonly Deep<Item>[]
  : Type extends object ? { [Name in keyof Type]: Deep<Type[Name]> }
  : Type;

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

Deno.test("the written types of fields and settings are what the schemas infer", () => {
  const fields = Object.fromEntries(
    Object.keys(TRANSFORMS).map((key) => [key, true]),
  ) as Written satisfies Readonly<Record<TransformKey, true>>;
  const checks: readonly true[] = [
    true satisfies Same<keyof typeof TRANSFORMS, TransformKey>,
    true satisfies Alike<BaseConfig, Deep<z.output<typeof baseConfigSchema>>>,
    true satisfies Alike<Settings, CamelFields<Deep<InferredSettings>>>,
    true satisfies Same<CamelCase<keyof InferredSettings>, keyof Settings>,
  ];
  assert.ok(Object.values(fields).every((each) => each) && checks.every((each) => each));
});
