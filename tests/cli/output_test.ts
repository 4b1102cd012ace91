/**
 * Streams that take nothing: /dev/full answers every write as a full disk does.
 *
 * @module
 */

import assert from "node:assert/strict";
import { styleOf } from "../../cli/terminal.ts";
import { CliHost, type CliResult } from "../support/cli.ts";
import { ROOT } from "../support/root.ts";
import { slowTest } from "../support/quick.ts";

const GENERATE = [
  "deploy",
  "--executor",
  "cpu",
  "-n",
  "4",
  "--temperature",
  "0",
  "--set",
  "max_batch_size=2",
];
const isLinux = Deno.build.os === "linux";

/** What is said of every failed write: one sentence, no trace, no bug. */
function assertPlain({ code, stderr }: CliResult): void {
  assert.equal(code, 1, stderr);
  assert.match(stderr, /^error: Cannot write the result to standard output: .*space/m);
  assert.match(stderr, /^hint: Free space/m);
  assert.doesNotMatch(stderr, /bug in Mixline|Uncaught|^\s+at /m);
}

const UNWRITTEN: readonly (readonly string[])[] = [
  GENERATE,
  [...GENERATE, "--json"],
  ["deploy", "--dry-run"],
  ["inspect", "model", "--json"],
  ["--help"],
];

slowTest(
  "main() that cannot write text, JSON or help says so, and an error of JSON on stderr",
  async () => {
    if (!isLinux) return;
    await using host = new CliHost(ROOT.pathname, { full: "stdout" });
    for (const args of UNWRITTEN) assertPlain(await host.run(args));
    const { code, stderr } = await host.run(["deploy", "--modle", "x", "--json"]);
    assert.equal(code, 2);
    assert.match(stderr, /^error: Cannot find flag "--modle"/);
  },
);

slowTest("main() goes on without progress when stderr takes nothing", async () => {
  if (!isLinux) return;
  await using host = new CliHost(ROOT.pathname, { full: "stderr" });
  const { code, stdout } = await host.run(GENERATE);
  assert.equal(code, 0);
  assert.match(stdout, /^Once upon a time, \w+/);
  assert.equal((await host.run(["deploy", "--modle", "x"])).code, 2);
});

slowTest("bench:report finds an --out that cannot be written before it measures", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--lock=deno.lock", "-A", "bench/report.ts", "--out", "bench"],
    cwd: ROOT,
    env: { NO_COLOR: "1", INIT_CWD: ROOT.pathname },
  }).output();
  const said = new TextDecoder().decode(stderr);
  assert.equal(code, 1, said);
  assert.match(said, /^Cannot write ".*\/bench": there is a folder of this name/);
  assert.doesNotMatch(said, /^device/m);
});

Deno.test("styleOf() has no colours on a dumb terminal, or where NO_COLOR is set", () => {
  const before = { TERM: Deno.env.get("TERM"), NO_COLOR: Deno.env.get("NO_COLOR") };
  const isPlain = (env: Record<string, string>) => {
    setEnvironment({ TERM: "xterm", NO_COLOR: "", ...env });
    return styleOf(true).red("x") === "x";
  };
  try {
    const plain = [isPlain({}), isPlain({ TERM: "dumb" }), isPlain({ NO_COLOR: "1" })];
    assert.deepEqual(plain, [false, true, true]);
    assert.equal(styleOf(false).red("x"), "x");
  } finally {
    setEnvironment(before);
  }
});

function setEnvironment(values: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) Deno.env.delete(name);
    else Deno.env.set(name, value);
  }
}
