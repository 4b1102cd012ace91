/**
 * Mistakes in YAML, flags, variables and code: what is said about each, and where.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type Pipeline, pipeline } from "../../dsl/pipeline.ts";
import { ConfigError } from "../../graph/mod.ts";

/** One mistake in a YAML text. */
interface Case {
  readonly mistake: string;
  readonly yaml: string;
  readonly code: string;
  readonly message: string | RegExp;
  readonly hint?: string | RegExp;
  readonly excerpt?: string;
}

const CASES: readonly Case[] = [
  {
    mistake: "a misspelt value",
    yaml: "transforms:\n  fuse_moe:\n    backend: tritn # fast\n",
    code: "config/invalid",
    message:
      /^Cannot read "transforms\.fuse_moe\.backend" at yaml:3:14: expected .*triton.* or \w+, got "tritn"$/,
    hint: 'Did you mean "triton"?',
    excerpt: "3 |     backend: tritn # fast\n  |              ^^^^^",
  },
  {
    mistake: "a misspelt value in a list",
    yaml: "transforms:\n  fuse_moe:\n    overrides:\n      - {match: 'a.*', backend: trtlm}\n",
    code: "config/invalid",
    message: /^Cannot read "transforms\.fuse_moe\.overrides\[0\]\.backend" at yaml:4:33: /,
    hint: 'Did you mean "trtllm"?',
    excerpt:
      "4 |       - {match: 'a.*', backend: trtlm}\n  |                                 ^^^^^",
  },
  {
    mistake: "a misspelt field in a list",
    yaml:
      "transforms:\n  fuse_moe:\n    overrides:\n      - match: a\n        backend: auto\n        bakend: auto\n",
    code: "config/unknown-field",
    message:
      'Cannot read "transforms.fuse_moe.overrides[0].bakend" at yaml:6:9: expected a known field, got "bakend"',
    hint: 'Did you mean "backend"?',
  },
  {
    mistake: "an unknown transform",
    yaml: "transforms:\n  fuse_mo: {}\n",
    code: "config/unknown-transform",
    message:
      'Cannot read "transforms.fuse_mo" at yaml:2:3: expected a known transform, got "fuse_mo"',
    hint: 'Did you mean "fuse_moe"?',
    excerpt: "2 |   fuse_mo: {}\n  |   ^^^^^^^",
  },
  {
    mistake: "a transform in the spelling of TypeScript",
    yaml: "transforms: {insertCachedAttention: {}}",
    code: "config/unknown-transform",
    message: /at yaml:1:14: expected a known transform, got "insertCachedAttention"$/,
    hint: 'Did you mean "insert_cached_attention"?',
  },
  {
    mistake: "a setting among the transforms",
    yaml: "transforms:\n  max_seq_len: 12\n",
    code: "config/unknown-transform",
    message: /at yaml:2:3: expected a known transform, got "max_seq_len"$/,
    hint: "Write max_seq_len outside of transforms, as a setting",
  },
  {
    mistake: "a stage around the transforms",
    yaml: "transforms:\n  pattern_matcher:\n    fuse_moe: {}\n",
    code: "config/unknown-transform",
    message: /at yaml:2:3: expected a known transform, got "pattern_matcher"$/,
    hint: "Write what is below pattern_matcher right below transforms: transforms.fuse_moe",
  },
  {
    mistake: "a transform like no other",
    yaml: "transforms: {zzzzzzzzzzzz: {}}",
    code: "config/unknown-transform",
    message: /expected a known transform, got "zzzzzzzzzzzz"$/,
    hint: /docs\/reference\/transforms\.md/,
  },
  {
    mistake: "an unknown field",
    yaml: "transforms:\n  fuse_moe:\n    bakend: triton\n",
    code: "config/unknown-field",
    message:
      'Cannot read "transforms.fuse_moe.bakend" at yaml:3:5: expected a known field, got "bakend"',
    hint: 'Did you mean "backend"?',
  },
  {
    mistake: "a field like no other",
    yaml: "transforms: {fuse_moe: {zzzzzzzzzz: 1}}",
    code: "config/unknown-field",
    message: /expected a known field, got "zzzzzzzzzz"$/,
    hint: /^Transform "fuse_moe" has backend, operands, overrides.* and those of every transform/,
  },
  {
    mistake: "a field named as what every JavaScript object has",
    yaml: "transforms: {fuse_moe: {constructor: 1}}",
    code: "config/unknown-field",
    message: /expected a known field, got "constructor"$/,
  },
  {
    mistake: "a transform named as what every JavaScript object has",
    yaml: "transforms: {toString: {}}",
    code: "config/unknown-transform",
    message: /expected a known transform, got "toString"$/,
  },
  {
    mistake: "a setting named as what every JavaScript object has",
    yaml: "__proto__: {}",
    code: "config/unknown-setting",
    message: /expected a known setting, got "__proto__"$/,
  },
  {
    mistake: "a number where true or false belongs",
    yaml: "transforms: {fuse_moe: {enabled: 7}}",
    code: "config/invalid",
    message:
      'Cannot read "transforms.fuse_moe.enabled" at yaml:1:34: expected true or false, got 7',
  },
  {
    mistake: "YAML 1.1's word for false",
    yaml: "transforms: {fuse_moe: {enabled: off}}",
    code: "config/invalid",
    message: /expected true or false, got "off"$/,
    hint: /^Write false/,
  },
  {
    mistake: "a list where a mapping belongs",
    yaml: "transforms:\n  fuse_moe:\n    - backend\n",
    code: "config/invalid",
    message: 'Cannot read "transforms.fuse_moe" at yaml:3:5: expected a mapping, got ["backend"]',
  },
  {
    mistake: "a text where the transforms belong",
    yaml: "transforms: fuse_moe\n",
    code: "config/invalid",
    message: 'Cannot read "transforms" at yaml:1:13: expected a mapping, got "fuse_moe"',
  },
  {
    mistake: "a list at the top",
    yaml: "- transforms\n- model\n",
    code: "config/invalid",
    message: "Cannot read configuration at yaml:1:1: expected a mapping of settings and transforms",
  },
  {
    mistake: "an unknown setting",
    yaml: "model: x\nmax_sequence_len: 4\n",
    code: "config/unknown-setting",
    message:
      'Cannot read "max_sequence_len" at yaml:2:1: expected a known setting, got "max_sequence_len"',
    hint: 'Did you mean "max_seq_len"?',
  },
  {
    mistake: "a transform at the top",
    yaml: "fuse_moe: {backend: triton}",
    code: "config/unknown-setting",
    message: /expected a known setting, got "fuse_moe"$/,
    hint: "Write it under transforms: transforms.fuse_moe",
  },
  {
    mistake: "a setting of a wrong type",
    yaml: 'max_seq_len: "4"\n',
    code: "config/invalid",
    message: 'Cannot read "max_seq_len" at yaml:1:14: expected a number, got "4"',
  },
  {
    mistake: "a fraction of a token",
    yaml: "max_seq_len: 4.5\n",
    code: "config/invalid",
    message: 'Cannot read "max_seq_len" at yaml:1:14: expected a whole number, got 4.5',
  },
  {
    mistake: "a setting out of range",
    yaml: "max_batch_size: 0\n",
    code: "config/invalid",
    message: 'Cannot read "max_batch_size" at yaml:1:17: expected a number of at least 1, got 0',
  },
  {
    mistake: "a wrong value of a short name",
    yaml: "kv_cache_dtype: f61\n",
    code: "config/invalid",
    message: /^Cannot read "kv_cache_dtype" at yaml:1:17: expected .*f16.*, got "f61"$/,
    hint: 'Did you mean "f16"?',
  },
  {
    mistake: "a list of further files",
    yaml: "yaml_extra: [a.yaml]\n",
    code: "config/unknown-setting",
    message: 'Cannot read "yaml_extra" at yaml:1:1: files cannot list other files',
    hint: /--config/,
  },
  {
    mistake: "other defaults",
    yaml: "yaml_default: other.yaml\n",
    code: "config/invalid",
    message: 'Cannot read "yaml_default" at yaml:1:15: expected default or null, got "other.yaml"',
    hint: /first of several files/,
  },
  {
    mistake: "a reference to another value",
    yaml: "model: ${oc.env:HOME}/model\n",
    code: "config/interpolation",
    message: 'Cannot read "model" at yaml:1:8: expected a plain value, got an interpolation',
  },
  {
    mistake: "a key that stands twice",
    yaml: "transforms:\n  fuse_moe: {}\n  fuse_moe:\n    backend: auto\n",
    code: "config/yaml",
    message: 'Cannot read configuration at yaml:3:3: expected every key once, got "fuse_moe" again',
  },
  {
    mistake: "sequences with no room for an answer",
    yaml: "max_seq_len: 1\n",
    code: "config/invalid",
    message: 'Cannot read "max_seq_len" at yaml:1:14: expected a number of at least 2, got 1',
  },
  {
    mistake: "a tab in front of a line",
    yaml: "transforms:\n\tfuse_moe: {}\n",
    code: "config/yaml",
    message: "Cannot read configuration at yaml:2:1: expected spaces in front of a line, got a tab",
  },
  {
    mistake: "a brace that is left open",
    yaml: "transforms:\n  fuse_moe: {backend: triton\n",
    code: "config/yaml",
    message: /^Cannot read configuration at yaml:2:29: expected YAML: flow map .* end with a }$/,
  },
  {
    mistake: "a quote that is left open",
    yaml: 'model: "demo\n',
    code: "config/yaml",
    message: /^Cannot read configuration at yaml:1:\d+: expected YAML: missing closing "quote$/,
  },
  {
    mistake: "an alias of nothing",
    yaml: "model: *demo\n",
    code: "config/yaml",
    message:
      "Cannot read configuration at yaml:1:8: expected an anchor of an earlier value, got *demo",
    excerpt: "1 | model: *demo\n  |        ^^^^^",
  },
  {
    mistake: "an alias of what it is part of",
    yaml: "model: &demo [*demo]\n",
    code: "config/yaml",
    message: /^Cannot read configuration at yaml:1:15: expected/,
  },
  {
    mistake: "aliases of aliases without end",
    yaml: `a: &a [1, 1, 1, 1, 1, 1]\nb: &b [${"*a, ".repeat(9)}*a]\nc: &c [${
      "*b, ".repeat(9)
    }*b]\nmodel: [${"*c, ".repeat(9)}*c]\n`,
    code: "config/yaml",
    message: /^Cannot read configuration at yaml:4:\d+: expected YAML: excessive alias count/,
  },
  {
    mistake: "a tag that nobody knows",
    yaml: "model: !vault demo\n",
    code: "config/yaml",
    message:
      "Cannot read configuration at yaml:1:8: expected a plain value, got a tag that is not known",
  },
  {
    mistake: "several documents in one text",
    yaml: "model: a\n---\nmodel: b\n",
    code: "config/yaml",
    message: /^Cannot read configuration at yaml:2:1: expected one document, got several$/,
  },
];

for (const { mistake, yaml, code, message, hint, excerpt } of CASES) {
  Deno.test(`pipeline.fromYaml() explains ${mistake}`, () => {
    const error = errorOf(() => pipeline.fromYaml(yaml));
    assert.equal(error.code, code);
    if (typeof message === "string") assert.equal(error.message, message);
    else assert.match(error.message, message);
    if (typeof hint === "string") assert.equal(error.hint, hint);
    else if (hint) assert.match(error.hint ?? "", hint);
    if (excerpt !== undefined) assert.equal(error.details.excerpt, excerpt);
    const [, line, column] = error.message.match(/yaml:(\d+):(\d+)/) ?? [];
    assert.deepEqual([error.details.line, error.details.column], [Number(line), Number(column)]);
    assert.ok(!error.message.endsWith("."));
  });
}

Deno.test("pipeline.fromYaml() reports everything that is wrong with several files at once", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const [a, b] = [`${folder}/a.yaml`, `${folder}/b.yaml`];
    await Deno.writeTextFile(a, "transforms:\n  fuse_moe: {backend: x}\nmodle: y\n");
    await Deno.writeTextFile(b, "max_batch_size: none\n");
    const error = errorOf(() => pipeline.fromYaml(a, b));
    assert.match(error.message, /a\.yaml:2:23: .* \(and 2 more\)$/);
    assert.match(
      String(error.details.excerpt),
      /a\.yaml:3:1: expected a known setting, got "modle"/,
    );
    assert.match(String(error.details.excerpt), /b\.yaml:1:17: expected a number, got "none"/);
    const issues = error.details.issues as { file: string; line: number; hint?: string }[];
    assert.deepEqual(issues.map(({ file, line }) => [file, line]), [[a, 2], [a, 3], [b, 1]]);
    assert.equal(issues[1].hint, 'Did you mean "model"?');
    assert.deepEqual(JSON.parse(JSON.stringify(error)).details.issues, issues);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("pipeline.fromYaml() names a file that is not there", () => {
  const error = errorOf(() => pipeline.fromYaml("no/such/file.yaml"));
  assert.equal(error.code, "config/missing-file");
  assert.match(error.message, /"no\/such\/file\.yaml"/);
});

Deno.test("pipeline.fromFlags() explains mistakes in all flags", () => {
  const flags = ["transforms.fuse-moe.backend=tritn", "max_seq_len", "a.b=1", "transforms.x.y.z=1"];
  const error = errorOf(() => pipeline.fromFlags(flags));
  const issues = error.details.issues as { message: string; hint: string }[];
  assert.deepEqual(issues.map(({ message }) => message.replace(/expected auto.*, got/, "got")), [
    'Cannot read configuration in --set: expected path=value, got "max_seq_len"',
    'Cannot read "transforms.fuse_moe.backend" in --set transforms.fuse-moe.backend=tritn: got "tritn"',
    'Cannot read "a" in --set a.b=1: expected a known setting, got "a"',
    'Cannot read "transforms.x.y.z" in --set transforms.x.y.z=1: expected a setting or ' +
    "transforms.<key>.<field>, got a longer path",
  ]);
  assert.equal(issues[1].hint, 'Did you mean "triton"?');
});

Deno.test("pipeline.fromFlags() explains a value that is no YAML", () => {
  const error = errorOf(() => pipeline.fromFlags(["transforms.fuse_moe.overrides=[{match: a"]));
  assert.equal(error.code, "config/yaml");
  assert.match(
    error.message,
    /^Cannot read "transforms\.fuse_moe\.overrides" in --set .*: expected/,
  );
});

Deno.test("pipeline.fromEnvironment() explains variables that are nearly right", () => {
  const error = errorOf(() =>
    pipeline.fromEnvironment({
      MIXLINE_TRANSFORMS__FUSE_MOE__BAKEND: "triton",
      MIXLINE_MAX_SEQ_LENGTH: "4",
      MIXLINE_TUNED_DIR: "tuned",
      HOME: "/root",
    })
  );
  const issues = error.details.issues as { message: string; hint: string }[];
  assert.deepEqual(issues.map(({ message, hint }) => [message, hint]), [
    [
      'Cannot read "transforms.fuse_moe.bakend" in MIXLINE_TRANSFORMS__FUSE_MOE__BAKEND: ' +
      'expected a known field, got "bakend"',
      'Did you mean "backend"?',
    ],
    [
      'Cannot read "max_seq_length" in MIXLINE_MAX_SEQ_LENGTH: expected a known setting, got "max_seq_length"',
      'Did you mean "max_seq_len"?',
    ],
  ]);
});

Deno.test("pipeline.fromEnvironment() refuses a variable of no setting, and names the nearest", () => {
  const near = errorOf(() => pipeline.fromEnvironment({ MIXLINE_TUNED_DIRS: "tuned" }));
  assert.equal(near.code, "config/unknown-variable");
  assert.match(near.message, /got "?MIXLINE_TUNED_DIRS/);
  assert.equal(near.hint, 'Did you mean "MIXLINE_TUNED_DIR"?');
  const far = errorOf(() => pipeline.fromEnvironment({ MIXLINE_QWERTZUIOP: "1" }));
  assert.match(far.hint ?? "", /^Unset it, or name a setting: MIXLINE_MODEL, /);
});

Deno.test("methods of a pipeline name the call that was wrong", () => {
  const set = errorOf(() => pipeline().set("transforms.fuse-moe.backend", "tritn"));
  assert.match(
    set.message,
    /^Cannot read "transforms\.fuse_moe\.backend" in set\(transforms\.fuse-moe\.backend\): expected/,
  );
  const value = errorOf(() => pipeline().set("world_size", () => 2));
  assert.match(value.message, /expected a value that YAML can hold/);
  const infinite = errorOf(() => pipeline().set("world_size", Infinity));
  assert.match(infinite.message, /expected a value that YAML can hold, got Infinity$/);
});

Deno.test("resolve() explains an order that its constraints forbid", () => {
  const wrong = "transforms:\n  insert_cached_attention:\n    after: [compile_model]\n";
  const error = errorOf(() => pipeline.fromYaml(wrong).resolve());
  assert.equal(error.code, "config/order");
  assert.match(error.message, /"compile_model" before "insert_cached_attention"/);
  assert.deepEqual(error.trail, ["transforms.insert_cached_attention.after (yaml:3:12)"]);
  const misspelt = errorOf(() => pipeline().fuseMoe({ before: ["fuse_gems"] }).resolve());
  assert.equal(misspelt.hint, 'Did you mean "fuse_gemms"?');
  assert.deepEqual(misspelt.trail, ["transforms.fuse_moe.before (code fuseMoe())"]);
});

function errorOf(build: () => Pipeline | unknown): ConfigError {
  try {
    build();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error;
  }
  assert.fail("expected an error");
}
