/**
 * Laws of pipelines, over random ones.
 *
 * @module
 */

import assert from "node:assert/strict";
import fc from "../../deps/fast_check.ts";
import { parse } from "../../deps/yaml.ts";
import { camelCase } from "../../dsl/names.ts";
import { EMPTY_OVERLAY } from "../../dsl/overlay.ts";
import { Pipeline, pipeline } from "../../dsl/pipeline.ts";
import { messageOf } from "../../graph/mod.ts";
import { allTransforms, type TransformKey, TRANSFORMS } from "../../transforms/mod.ts";
import { anyPipeline, pluggedPipelines } from "../support/pipelines.ts";
import { IS_QUICK } from "../support/quick.ts";

const RUNS = { numRuns: IS_QUICK ? 15 : 150 };

/** What a pipeline resolves to, or why it does not (transforms may contradict their order). */
function outcome(deployment: Pipeline): unknown {
  try {
    const { settings, transforms, values } = deployment.resolve();
    return {
      settings,
      transforms: transforms.map(({ definition: _, ...rest }) => rest),
      values: Object.fromEntries(values.map(({ path, value }) => [path, value])),
    };
  } catch (error) {
    return messageOf(error);
  }
}

Deno.test("fromYaml(p.toYaml()) equals p", () => {
  fc.assert(
    fc.property(fc.oneof(anyPipeline, pluggedPipelines()), (p) => {
      const read = pipeline.fromYaml(p.toYaml());
      assert.ok(read.equals(p), `${p.toYaml()}\n-- is not --\n${read.toYaml()}`);
      assert.deepEqual(outcome(read), outcome(p));
      assert.equal(read.toYaml(), p.toYaml());
    }),
    RUNS,
  );
});

Deno.test("toYaml({ resolved: true }) resolves to the same when it is read", () => {
  fc.assert(
    fc.property(anyPipeline, fc.boolean(), (p, origins) => {
      const expected = outcome(p);
      fc.pre(typeof expected === "object");
      assert.deepEqual(outcome(pipeline.fromYaml(p.toYaml({ resolved: true, origins }))), expected);
    }),
    RUNS,
  );
});

Deno.test("overlay() is associative", () => {
  fc.assert(
    fc.property(anyPipeline, anyPipeline, anyPipeline, (p, q, r) => {
      assert.ok(p.overlay(q).overlay(r).equals(p.overlay(q.overlay(r))));
    }),
    RUNS,
  );
});

Deno.test("overlay() lets the last one win, and an empty one changes nothing", () => {
  fc.assert(
    fc.property(anyPipeline, anyPipeline, (p, q) => {
      assert.ok(p.overlay(pipeline()).equals(p));
      assert.ok(p.overlay(p).equals(p));
      const own = new Map(values(q));
      const below = new Map(values(p));
      for (const [path, value] of values(p.overlay(q))) {
        if (path === "plugins") {
          // Plug-ins add up; null adds nothing.
          const all = [below, own].flatMap((layer) => layer.get(path) ?? []);
          assert.deepEqual(value ?? [], [...new Set(all)]);
        } else assert.deepEqual(value, own.has(path) ? own.get(path) : below.get(path), path);
      }
    }),
    RUNS,
  );
});

/** What a pipeline itself says, by path. */
function values(deployment: Pipeline): [string, unknown][] {
  const { transforms = {}, ...settings } = parse(deployment.toYaml()) as {
    transforms?: Record<string, Record<string, unknown>>;
  };
  const fields = Object.entries(transforms).flatMap(([key, fields]) =>
    Object.entries(fields).map(([name, value]): [string, unknown] => [`${key}.${name}`, value])
  );
  return [...Object.entries(settings).filter(([name]) => name !== "yaml_default"), ...fields];
}

/** A call of every method that is not made from the registry. */
const CALLS: Readonly<Record<string, (p: Pipeline, other: Pipeline) => unknown>> = {
  constructor: () => new Pipeline(EMPTY_OVERLAY, "empty"),
  use: (p) => p.use(TRANSFORMS.fuse_moe, { backend: "triton" }),
  enable: (p) => p.enable(...keys),
  disable: (p) => p.disable(...keys),
  set: (p) => p.set("world_size", [2]),
  settings: (p) => p.settings({ maxSeqLen: 2, plugins: [] }),
  overlay: (p, other) => p.overlay(other),
  equals: (p, other) => p.equals(other),
  resolve: (p) => outcome(p),
  toYaml: (p) => [p.toYaml(), typeof outcome(p) === "object" && p.toYaml({ resolved: true })],
  toTypeScript: (p) => p.toTypeScript({ comments: true }),
  deploy: (p) => assert.rejects(p.deploy({ model: "/nowhere", config: "max_seq_len: 2" })),
};

const keys = Object.keys(TRANSFORMS) as TransformKey[];

/** Calls a method of a pipeline by its name. */
async function call(p: Pipeline, name: string, other: Pipeline): Promise<void> {
  if (Object.hasOwn(CALLS, name)) return void await CALLS[name](p, other);
  const definition = allTransforms().find(({ key }) => camelCase(key) === name);
  assert.ok(definition, `expected a call of ${name}() in this test, got none`);
  const changed: unknown = Reflect.apply(Reflect.get(p, name), p, [{ enabled: false }]);
  assert.ok(changed instanceof Pipeline && Object.isFrozen(changed), name);
  assert.equal(new Map(values(changed)).get(`${definition.key}.enabled`), false);
}

Deno.test("no method changes the pipeline that it is called on", async () => {
  await fc.assert(
    fc.asyncProperty(pluggedPipelines(), anyPipeline, async (p, other) => {
      const before = [p.toYaml(), JSON.stringify(outcome(p)), other.toYaml()];
      const methods = Object.getOwnPropertyNames(Pipeline.prototype);
      for (const key of allTransforms().map(({ key }) => camelCase(key))) {
        assert.ok(methods.includes(key), key);
      }
      for (const name of methods) await call(p, name, other);
      assert.deepEqual([p.toYaml(), JSON.stringify(outcome(p)), other.toYaml()], before);
      assert.ok(Object.isFrozen(p));
    }),
    { numRuns: IS_QUICK ? 2 : 5 },
  );
});

Deno.test("a value that is given to a method can be changed afterwards", () => {
  const list = ["a"];
  const changed = pipeline().set("world_size", list).fuseMoe({ backend: "triton" });
  list.push("b");
  assert.deepEqual(new Map(values(changed)).get("world_size"), ["a"]);
  assert.equal(changed.toYaml(), pipeline.fromYaml(changed.toYaml()).toYaml());
});

Deno.test("toTypeScript() gives a program with the same pipeline, plug-ins in it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    let [count, resolved] = [0, 0];
    await fc.assert(
      fc.asyncProperty(pluggedPipelines(), async (p) => {
        const file = `${folder}/program_${count++}.ts`;
        await Deno.writeTextFile(file, p.toTypeScript({ module: MODULE }));
        const { deployment } = await import(`file://${file}`);
        assert.ok(p.equals(deployment), p.toTypeScript());
        assert.deepEqual(outcome(deployment), outcome(p));
        if (typeof outcome(p) === "object") resolved++;
      }),
      { numRuns: 15 },
    );
    // Some name an order that no pipeline can have.
    assert.ok(resolved > count / 2, `${resolved} of ${count} resolve`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const MODULE = new URL("../../dsl/mod.ts", import.meta.url).href;
