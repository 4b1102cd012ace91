/**
 * AutoDeploy's own files, as published: its default pipeline and five of its model registry.
 *
 * @module
 */

import assert from "node:assert/strict";
import { parse } from "../../deps/yaml.ts";
import { pipeline } from "../../mod.ts";

const FOLDER = new URL("../golden/autodeploy/", import.meta.url);
const NAMES = [
  "default",
  "dashboard_default",
  "gpt_oss_20b",
  "gpt_oss_120b",
  "nano_v3",
  "qwen3Next",
];

for (const name of NAMES) {
  Deno.test(`${name}.yaml of AutoDeploy loads as it is, with each note once`, async () => {
    const file = new URL(`${name}.yaml`, FOLDER);
    const read = pipeline.fromYaml(file);
    const { notes, transforms } = read.resolve();
    assert.equal(new Set(notes).size, notes.length);
    const { transforms: written = {} } = parse(await Deno.readTextFile(file)) as {
      transforms?: Record<string, { enabled?: boolean } | null>;
    };
    for (const [key, fields] of Object.entries(written)) {
      assert.ok(transforms.some((each) => each.key === key), key);
      if (fields?.enabled !== false) continue;
      assert.ok(!notes.some((note) => note.startsWith(`${key} `)), `${key} is off, and has a note`);
    }
    assert.ok(pipeline.fromYaml(read.toYaml()).equals(read));
  });
}

Deno.test("a name that AutoDeploy does not have stays an error with a suggestion", () => {
  assert.throws(
    () => pipeline.fromYaml("transforms: { fuse_mamba_a_lag: { enabled: true } }"),
    (error) => {
      assert.match(String(error), /expected a known transform, got "fuse_mamba_a_lag"/);
      assert.equal(Reflect.get(Object(error), "hint"), 'Did you mean "fuse_mamba_a_log"?');
      return true;
    },
  );
});
