/**
 * Configurations of any size and with anything in them: what is said stays short, quick and plain.
 *
 * @module
 */

import assert from "node:assert/strict";
import { renderError } from "../../cli/render.ts";
import { styleOf } from "../../cli/terminal.ts";
import { pipeline } from "../../dsl/pipeline.ts";
import { ConfigError } from "../../graph/mod.ts";
import { cpuTimer } from "../support/cpu_time.ts";
import { runCli } from "../support/cli.ts";
import { slowTest } from "../support/quick.ts";

/** What an error about any text may take; twenty issues with their excerpts are 8 kB. */
const LIMITS = { milliseconds: 10_000, characters: 12_000 };

interface LargeText {
  readonly what: string;
  readonly text: string;
  readonly message: RegExp;
  /** Takes a second, most of which is the YAML library's. */
  readonly isSlow?: boolean;
}

const names = (count: number, separator: string) =>
  Array.from({ length: count }, (_, i) => `k${i}: 1`).join(separator);

const LARGE_TEXTS: readonly LargeText[] = [
  {
    what: "10,000 unknown settings on one line",
    text: `{${names(10_000, ", ")}}\n`,
    message: /^Cannot read "k0" at yaml:1:2: expected a known setting, got "k0" \(and 9999 more\)$/,
  },
  {
    what: "60,000 unknown settings on a line each",
    text: `${names(60_000, "\n")}\n`,
    message:
      /^Cannot read "k0" at yaml:1:1: expected a known setting, got "k0" \(and 59999 more\)$/,
    isSlow: true,
  },
  {
    what: "a list of 20,000 entries that are all wrong",
    text: `transforms: {fuse_moe: {overrides: [${"{match: 1}, ".repeat(20_000)}]}}\n`,
    message: /overrides\[0\]\.match" at yaml:1:45: expected a text, got 1 \(and 39999 more\)$/,
    isSlow: true,
  },
  {
    what: "20,000 braces that are never closed, on one line of 100 kB",
    text: `${"a: {".repeat(20_000)}\n`,
    message: /yaml:1:256: expected lists and mappings at most 64 deep, got more$/,
  },
  {
    what: "a key of 500 kB",
    text: `{"${"x".repeat(500_000)}": 1}\n`,
    message:
      /^Cannot read "x{57}\.\.\." at yaml:1:\d+: expected a known setting, got "x{57}\.\.\."$/,
  },
  {
    what: "a value of 500 kB",
    text: `max_seq_len: ${"x".repeat(500_000)}\n`,
    message: /^Cannot read "max_seq_len" at yaml:1:14: expected a number, got "x{56}\.\.\.$/,
  },
  {
    what: "lists in lists, 20,000 deep on one line",
    text: `model_kwargs:\n  ${"- ".repeat(20_000)}x\n`,
    message: /yaml:2:\d+: expected lists and mappings at most 64 deep, got more$/,
  },
  {
    what: "keys in keys, 320 deep",
    text: `model_kwargs:\n  ${"? ".repeat(320)}x\n`,
    message: /yaml:2:\d+: expected lists and mappings at most 64 deep, got more$/,
  },
  {
    what: "10,000 aliases",
    text: `model: &m x\nmodel_kwargs: [${"*m, ".repeat(10_000)}]\n`,
    message: /yaml:2:\d+: expected at most 100 aliases, got more$/,
  },
];

for (const { what, text, message, isSlow } of LARGE_TEXTS) {
  const test = isSlow ? slowTest : Deno.test;
  test(`pipeline.fromYaml() of ${what} fails fast and in few words`, () => {
    const computed = cpuTimer();
    const error = errorOf(() => pipeline.fromYaml(text));
    const shown = renderError(error, styleOf(false));
    const took = computed();
    assert.match(error.message, message);
    assert.ok(shown.length < LIMITS.characters, `${shown.length} characters`);
    assert.ok(JSON.stringify(error).length < 2 * LIMITS.characters, "as JSON");
    assert.ok(took < LIMITS.milliseconds, `${took.toFixed(0)} ms`);
  });
}

Deno.test("an error of more than twenty issues shows twenty, and counts the others", () => {
  const error = errorOf(() => pipeline.fromYaml(`${names(30, "\n")}\n`));
  assert.match(String(error.details.excerpt), /\n\n… 10 more$/);
  assert.equal((error.details.issues as unknown[]).length, 20);
  assert.equal(error.details.issuesLeftOut, 10);
});

Deno.test("an excerpt shows the columns around what is wrong, with its carets below it", () => {
  const text = `{max_batch_size: 4, model: "${
    "y".repeat(300)
  }", max_seq_len: none, world_size: 1}\n`;
  const [line, carets] = String(errorOf(() => pipeline.fromYaml(text)).details.excerpt).split("\n");
  assert.match(line, /^1 \| …y+", max_seq_len: none, world_size: 1}$/);
  assert.equal(carets.indexOf("^"), line.indexOf("none"));
  assert.equal(carets.trimEnd().length, line.indexOf("none") + "none".length);
});

Deno.test("an error shows control characters and those that turn the direction of writing as signs", () => {
  const text = 'transforms: {"fuse\u202emoe": {}, fuse_moe: {backend: "a\\u001b[31m\u0085"}}\n';
  const shown = renderError(errorOf(() => pipeline.fromYaml(text)), styleOf(false));
  assert.match(shown, /expected a known transform, got "fuse\\u202emoe"/);
  assert.match(shown, /got "a\\u001b\[31m\\u0085"/);
  assert.doesNotMatch(shown.replaceAll("\n", ""), /[\p{Cc}\p{Cf}]/u);
});

for (
  const [what, text, place] of [
    ["a mapping", "? {a: 1}\n: 2\n", "1:3"],
    ["a list", "model_kwargs: {[a]: 2}\n", "1:16"],
    ["an alias", "model: &m x\n*m : 2\n", "2:1"],
  ]
) {
  Deno.test(`pipeline.fromYaml() refuses ${what} as a key`, () => {
    const { message } = errorOf(() => pipeline.fromYaml(text));
    assert.match(message, /: expected a plain key, got (a list or a mapping|an alias)$/);
    assert.ok(message.includes(`at yaml:${place}:`), message);
  });
}

Deno.test("a text that YAML reads as an alias is to be quoted, in flags and in variables", () => {
  const flag = errorOf(() => pipeline.fromFlags(["transforms.quantize_moe.layers=*.mlp"]));
  assert.equal(
    flag.message,
    'Cannot read "transforms.quantize_moe.layers" in --set transforms.quantize_moe.layers=*.mlp: ' +
      "expected an anchor of an earlier value, got *.mlp",
  );
  assert.equal(
    flag.hint,
    `Quote a text that YAML reads as something else: '"*.mlp"'`,
  );
  const variable = errorOf(() => pipeline.fromEnvironment({ MIXLINE_MODEL: "*x" }));
  assert.match(variable.message, / in MIXLINE_MODEL: expected an anchor/);
  assert.equal(variable.hint, `Quote a text that YAML reads as something else: '"*x"'`);
  const loop = errorOf(() => pipeline.fromFlags(["model_kwargs=&a [*a]"]));
  assert.equal(loop.hint, 'Quote a text that begins with *: "*a"');
  const quoted = pipeline.fromFlags(['transforms.quantize_moe.layers="*.mlp"']);
  assert.match(quoted.toYaml(), /layers: "\*\.mlp"/);
});

Deno.test("carets of --set point at the name or at the value, whichever is wrong", () => {
  const excerpt = (flag: string) =>
    errorOf(() => pipeline.fromFlags([flag])).details.excerpt as string;
  assert.equal(excerpt("foo=1"), "--set | foo=1\n      | ^^^");
  assert.equal(
    excerpt("transforms.fuse-moe.bakend=x"),
    "--set | transforms.fuse-moe.bakend=x\n      |                     ^^^^^^",
  );
  assert.equal(
    excerpt("transforms.fuse_mo.backend=x"),
    "--set | transforms.fuse_mo.backend=x\n      |            ^^^^^^^",
  );
  assert.equal(excerpt("max_seq_len=x"), "--set | max_seq_len=x\n      |             ^");
});

Deno.test("flags of their own are texts, not YAML", async () => {
  const text = pipeline.fromFlags(["--model=*x"]);
  assert.equal(text.resolve().settings.model, "*x");
  const empty = await runCli(["deploy", "--dry-run", "--model", ""]);
  assert.equal(empty.code, 2);
  assert.match(
    empty.stderr,
    /Cannot read "model" in --model=: expected a text that is not empty, got ""/,
  );
  const config = await runCli(["deploy", "--dry-run", "--config", ""]);
  assert.equal(config.code, 2);
  assert.match(config.stderr, /Cannot read flag "--config": expected a file, got ""/);
});

Deno.test("a configuration that is refused leaves stderr to its error", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/keys.yaml`, "model_kwargs:\n  ? ? x\n");
    const { code, stderr } = await runCli([
      "deploy",
      "--dry-run",
      "--config",
      `${folder}/keys.yaml`,
    ]);
    assert.equal(code, 2);
    assert.match(
      stderr,
      /^error: Cannot read configuration at .*keys\.yaml:2:5: expected a plain key/,
    );
    assert.doesNotMatch(stderr, /warning|stringified/i);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

function errorOf(build: () => unknown): ConfigError {
  try {
    build();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error;
  }
  assert.fail("expected an error");
}
