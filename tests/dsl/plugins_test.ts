/**
 * Plug-ins: modules in a folder of their own, named in YAML, in flags and in code.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type JsonSchema, pipelineJsonSchema } from "../../dsl/schema.ts";
import { ConfigError, pipeline } from "../../mod.ts";
import fc from "../../deps/fast_check.ts";
import { webgpuTest } from "../support/adapter.ts";
import { runCli } from "../support/cli.ts";
import { anyPipeline, pluggedPipelines } from "../support/pipelines.ts";
import { slowTest } from "../support/quick.ts";
import { STORY_SCRIPT } from "../support/story_script.ts";

const MOD = new URL("../../mod.ts", import.meta.url).href;

/** A module that brings a transform of this key and a backend of this name. */
function source(key: string, backend: string): string {
  return `
import { definePlugin, defineTransform } from ${JSON.stringify(MOD)};
import { z } from ${JSON.stringify(new URL("deps/zod.ts", MOD).href)};

const transform = defineTransform({
  key: ${JSON.stringify(key)},
  stage: "compile",
  summary: "Count the nodes of the graph",
  config: z.object({ loud: z.boolean().default(false).describe("Say it") }),
  plan: (graph) => ({ matches: [], notes: [graph.nodes.length + " nodes were counted"] }),
  apply() {},
});
const backend = {
  name: ${JSON.stringify(backend)},
  summary: "takes nothing",
  supports: () => "it is a test",
  compile: () => [],
};
export default definePlugin({ transforms: [transform], moeBackends: [backend as never] });
`;
}

async function inFolder(
  files: Readonly<Record<string, string>>,
  body: (folder: string) => void | Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "mixline plug-in " });
  try {
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(join(folder, name), text);
    }
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a plug-in named in YAML, relative to the file, brings keys, methods and backends", async () => {
  // The keys come after the list of plug-ins in a file, or before it.
  const yaml = `transforms:
  yaml_counter:
    loud: true
  fuse_moe:
    backend: yaml_backend
plugins: [./mine.ts]
`;
  await inFolder(
    { "mine.ts": source("yaml_counter", "yaml_backend"), "p.yaml": yaml },
    (folder) => {
      const read = pipeline.fromYaml(join(folder, "p.yaml"));
      assert.ok(pipeline.fromYaml(read.toYaml()).equals(read));
      const coded = pipeline()
        .settings({ plugins: [join(folder, "mine.ts")] })
        .set("transforms.yaml_counter.loud", true)
        .set("transforms.fuse_moe.backend", "yaml_backend");
      assert.ok(coded.equals(read), coded.toYaml());
      const { transforms, settings } = read.resolve();
      assert.deepEqual(settings.plugins, [join(folder, "mine.ts")]);
      assert.ok(transforms.some(({ key }) => key === "yaml_counter"));
      const method: unknown = Reflect.get(pipeline(), "yamlCounter");
      assert.equal(typeof method, "function");
      const schema = JSON.stringify(at(pipelineJsonSchema(), "transforms"));
      assert.match(schema, /"yaml_counter":/);
      assert.match(schema, /"yaml_backend"/);
    },
  );
});

function at(schema: JsonSchema, name: string): JsonSchema {
  return (schema.properties as Record<string, JsonSchema>)[name];
}

Deno.test("layers add their plug-ins up, in any grouping", async () => {
  const files = { "a.ts": source("layer_a", "layer_a_b"), "b.ts": source("layer_b", "layer_b_b") };
  await inFolder(files, (folder) => {
    const [a, b] = ["a.ts", "b.ts"].map((name) =>
      pipeline.empty().settings({ plugins: [join(folder, name)] })
    );
    const none = pipeline.empty().set("plugins", null);
    const left = a.overlay(none).overlay(b).overlay(a);
    assert.ok(left.equals(a.overlay(none.overlay(b.overlay(a)))));
    assert.equal(left.resolve().settings.plugins.length, 2);
  });
});

// One check for all programs, in a folder of no project: most of it is the types of the library.
slowTest(
  "programs that import mod.ts by path type-check, and so do those of toTypeScript()",
  async () => {
    await inFolder({ "mine.ts": source("ts_counter", "ts_backend") }, async (folder) => {
      const p = pipeline().settings({ plugins: [join(folder, "mine.ts")], maxSeqLen: 64 })
        .set("transforms.ts_counter.enabled", false)
        .set("transforms.fuse_moe.backend", "ts_backend");
      const file = join(folder, "program.ts");
      await Deno.writeTextFile(file, p.toTypeScript({ module: MOD }));
      const random = fc.sample(fc.oneof(anyPipeline, pluggedPipelines()), 15).map((each, i) => {
        const path = join(folder, `program_${i}.ts`);
        Deno.writeTextFileSync(path, each.toTypeScript({ module: MOD }));
        return path;
      });
      const story = join(folder, "story.ts");
      await Deno.writeTextFile(story, STORY_SCRIPT);
      const args = ["check", story, file, ...random];
      const checked = await new Deno.Command(Deno.execPath(), { args, cwd: folder }).output();
      assert.equal(checked.code, 0, new TextDecoder().decode(checked.stderr));
      const { deployment } = await import(`file://${file}`);
      assert.ok(deployment.equals(p), deployment.toYaml());
    });
  },
);

const WRONG: readonly [string, string, RegExp][] = [
  ["no default export", "export const x = 1;", /expected a default export with .*, got none/],
  ["a number", "export default 1;", /expected a default export .*, got a number/],
  ["an unknown part", "export default { kernels: [] };", /got an object with kernels/],
  [
    "one that throws",
    'throw new Error("it is broken");',
    /expected a module that loads.*it is broken/,
  ],
  ["an await", "await 1; export default {};", /got one with await at its top level/],
  ["a broken text", "export default {", /expected a module that loads, got an error/],
  [
    "a key that is taken",
    source("fuse_moe", "taken"),
    /expected definitions that can be registered.*expected a new key, got one that is taken/,
  ],
  ["a key that hides a method", source("deploy", "hides"), /whose method is new, got deploy\(\)/],
];

for (const [what, text, expected] of WRONG) {
  Deno.test(`a plug-in with ${what} is an error at its line`, async () => {
    await inFolder(
      { "mine.ts": text, "p.yaml": "model: x\nplugins:\n  - ./mine.ts\n" },
      (folder) => {
        assert.throws(() => pipeline.fromYaml(join(folder, "p.yaml")), (error) => {
          assert.ok(error instanceof ConfigError);
          assert.match(error.message, expected);
          assert.match(error.message, /p\.yaml:3:5/);
          return true;
        });
      },
    );
  });
}

Deno.test("a plug-in that is not there is an error with its whole path", () => {
  assert.throws(
    () => pipeline().settings({ plugins: ["./nowhere.ts"] }),
    /expected a module, got no file \/.*nowhere\.ts/,
  );
});

Deno.test("--plugin brings what a YAML file of the same command uses", async () => {
  const yaml = "transforms: { cli_counter: { loud: true } }\n";
  await inFolder(
    { "mine.ts": source("cli_counter", "cli_backend"), "p.yaml": yaml },
    async (folder) => {
      const args = ["deploy", "--plugin", "mine.ts", "-c", "p.yaml", "-x", "cpu", "-n", "2"];
      const few = ["--set", "max_batch_size=2"];
      const { code, stdout, stderr } = await runCli([...args, ...few, "--json"], { cwd: folder });
      assert.equal(code, 0, stderr);
      assert.match(stdout, /nodes were counted/);
      const without = await runCli(["deploy", "-c", join(folder, "p.yaml"), "--dry-run"]);
      assert.equal(without.code, 2);
      assert.match(without.stderr, /expected a known transform, got "cli_counter"/);
    },
  );
});

webgpuTest("deploy runs the bundled model with the backend of a plug-in", async () => {
  const args = ["deploy", "--plugin", "examples/05_own_backend.ts", "-x", "webgpu", "-t", "0"];
  const set = ["--set", "transforms.fuse_moe.backend=plain_loop"];
  const { code, stdout, stderr } = await runCli([...args, ...set, "-n", "8", "--quiet"], {});
  assert.equal(code, 0, stderr);
  assert.match(stdout, /there was a young sailor/);
});
