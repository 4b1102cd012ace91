/**
 * Laws of pipelines, over random ones.
 *
 * @module
 */

import assert from "node:assert/strict";
import fc from "../../deps/fast_check.ts";
import { parse } from "../../deps/yaml.ts";
import { type Pipeline, pipeline } from "../../dsl/pipeline.ts";
import { messageOf } from "../../graph/mod.ts";
import { type TransformKey, TRANSFORMS } from "../../transforms/mod.ts";
import { anyPipeline } from "../support/pipelines.ts";
import { IS_QUICK } from "../support/quick.ts";

const RUNS = { numRuns: IS_QUICK ? 40 : 150 };

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
    fc.property(anyPipeline, (p) => {
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

Deno.test("methods leave the pipeline they are called on as it was", () => {
  fc.assert(
    fc.property(anyPipeline, anyPipeline, (p, other) => {
      const before = [p.toYaml(), JSON.stringify(outcome(p))];
      const list = ["a"];
      const changed = p.overlay(other).disable(...(Object.keys(TRANSFORMS) as TransformKey[]))
        .enable("fuse_moe")
        .settings({ maxSeqLen: 2 }).set("world_size", list)
        .fuseMoe({ backend: "triton" });
      list.push("b");
      assert.deepEqual([p.toYaml(), JSON.stringify(outcome(p))], before);
      assert.equal(changed.toYaml(), pipeline.fromYaml(changed.toYaml()).toYaml());
      assert.ok(Object.isFrozen(changed));
      assert.deepEqual(new Map(values(changed)).get("world_size"), ["a"]);
    }),
    { numRuns: 30 },
  );
});

Deno.test("toTypeScript() gives a program with the same pipeline", async () => {
  const folder = await Deno.makeTempDir();
  try {
    let count = 0;
    await fc.assert(
      fc.asyncProperty(anyPipeline, async (p) => {
        const file = `${folder}/program_${count++}.ts`;
        await Deno.writeTextFile(file, p.toTypeScript({ module: MODULE }));
        const { deployment } = await import(`file://${file}`);
        assert.ok(p.equals(deployment), p.toTypeScript());
        assert.deepEqual(outcome(deployment), outcome(p));
      }),
      { numRuns: 15 },
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const MODULE = new URL("../../dsl/mod.ts", import.meta.url).href;
