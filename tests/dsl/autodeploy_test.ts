/**
 * AutoDeploy's own files, as published: its default pipeline and five of its model registry.
 *
 * @module
 */

import assert from "node:assert/strict";
import { parse } from "../../deps/yaml.ts";
import {
  UPSTREAM_CACHE_FIELDS,
  UPSTREAM_SETTINGS,
  UPSTREAM_TRANSFORMS,
  upstreamTakes,
} from "../../dsl/export/autodeploy_facts.ts";
import { pipeline } from "../../mod.ts";
import {
  REGISTRY_ONNX_FIELDS,
  REGISTRY_OTHERS,
  REGISTRY_SETTINGS,
  REGISTRY_TRANSFORMS,
} from "../support/autodeploy_registry.ts";

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

/** A file with one of the values of each name of the registry: the n-th, or its last. */
function registryFile(n: number): Record<string, unknown> {
  const nth = (all: Readonly<Record<string, readonly unknown[]>>) =>
    Object.fromEntries(Object.entries(all).map(([name, each]) => [name, each[n] ?? each.at(-1)]));
  const transforms = Object.entries(REGISTRY_TRANSFORMS).map(([key, fields]) => [key, nth(fields)]);
  return { ...nth(REGISTRY_SETTINGS), transforms: Object.fromEntries(transforms) };
}

const MOST = Math.max(
  ...[REGISTRY_SETTINGS, ...Object.values(REGISTRY_TRANSFORMS)].flatMap((each) =>
    Object.values(each).map(({ length }) => length)
  ),
);

Deno.test("every name and value of the model registry's files loads as it is, with each note once", () => {
  for (let n = 0; n < MOST; n++) {
    const file = registryFile(n);
    // JSON is YAML.
    const read = pipeline.fromYaml(`# file ${n}\n${JSON.stringify(file)}`);
    const { notes, transforms } = read.resolve();
    assert.equal(new Set(notes).size, notes.length, notes.join("\n"));
    const keys = transforms.map(({ key }) => key);
    for (const key of Object.keys(REGISTRY_TRANSFORMS)) assert.ok(keys.includes(key), key);
    assert.ok(pipeline.fromYaml(read.toYaml()).equals(read));
  }
});

Deno.test("fields of the files for ONNX are taken by every transform, as notes", () => {
  const fields = Object.fromEntries(
    Object.entries(REGISTRY_ONNX_FIELDS).map(([name, [value]]) => [name, value]),
  );
  const read = pipeline.fromYaml(`transforms: ${JSON.stringify({ match_repeat_kv: fields })}`);
  const { notes } = read.resolve();
  for (const name of Object.keys(fields)) {
    assert.ok(notes.some((note) => note.startsWith(`match_repeat_kv.${name} `)), name);
  }
});

Deno.test("the table of facts has every name and value of the registry's files", () => {
  const taken = [...UPSTREAM_SETTINGS, ...REGISTRY_OTHERS];
  assert.deepEqual(Object.keys(REGISTRY_SETTINGS).filter((name) => !taken.includes(name)), []);
  for (const value of REGISTRY_SETTINGS.kv_cache_config) {
    const unknown = Object.keys(Object(value)).filter((name) =>
      !UPSTREAM_CACHE_FIELDS.includes(name)
    );
    assert.deepEqual(unknown, []);
  }
  for (const [key, fields] of Object.entries(REGISTRY_TRANSFORMS)) {
    assert.ok(Object.hasOwn(UPSTREAM_TRANSFORMS, key), key);
    for (const [field, values] of Object.entries(fields)) {
      for (const value of values) assert.ok(upstreamTakes(key, field, value), `${key}.${field}`);
    }
  }
});

Deno.test("a backend that exists on CUDA alone is a note, and comes back from YAML and exports", () => {
  const read = pipeline.fromYaml("transforms: { fuse_nvfp4_moe: { backend: trtllm_gen } }");
  const { notes, transforms, values } = read.resolve();
  const note =
    "fuse_nvfp4_moe.backend: trtllm_gen is not applicable on WebGPU: it names kernels of CUDA";
  assert.deepEqual(notes, [note]);
  assert.equal(transforms.find(({ key }) => key === "fuse_nvfp4_moe")?.config.backend, "auto");
  const { value, written } =
    values.find(({ path }) => path === "transforms.fuse_nvfp4_moe.backend") ?? {};
  assert.deepEqual([value, written], ["auto", "trtllm_gen"]);
  assert.match(read.toYaml(), /backend: trtllm_gen/);
  assert.match(read.toTypeScript(), /\.set\("transforms\.fuse_nvfp4_moe\.backend", "trtllm_gen"\)/);
  assert.throws(
    () => pipeline.fromYaml("transforms: { fuse_nvfp4_moe: { backend: trtllm_gem } }"),
    /expected auto, .* got "trtllm_gem"/,
  );
});

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
