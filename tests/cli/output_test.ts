/**
 * Streams that take nothing: /dev/full answers every write as a full disk does.
 *
 * @module
 */

import assert from "node:assert/strict";
import { styleOf } from "../../cli/terminal.ts";
import { type CliResult, runCli } from "../support/cli.ts";
import { ROOT } from "../support/root.ts";
import { IS_QUICK, slowTest } from "../support/quick.ts";

const GENERATE = ["deploy", "--executor", "cpu", "-n", "4", "--temperature", "0"];
const isLinux = Deno.build.os === "linux";

/** What is said of every failed write: one sentence, no trace, no bug. */
function assertPlain({ code, stderr }: CliResult): void {
  assert.equal(code, 1);
  assert.match(stderr, /^error: Cannot write the result to standard output: .*space/m);
  assert.match(stderr, /^hint: Free space/m);
  assert.doesNotMatch(stderr, /bug in Mixline|Uncaught|^\s+at /m);
}

for (
  const [what, args] of [
    ["text", GENERATE],
    ["JSON", [...GENERATE, "--json"]],
    ["a dry run", ["deploy", "--dry-run"]],
    ["a graph as JSON", ["inspect", "model", "--json"]],
    ["help", ["--help"]],
  ] as const
) {
  const isLeftOut = IS_QUICK && what !== "text";
  Deno.test({
    name: `main() that cannot write ${what} says so${isLeftOut ? " [left out: --quick]" : ""}`,
    ignore: !isLinux || isLeftOut,
    fn: async () => assertPlain(await runCli(args, { redirect: "> /dev/full" })),
  });
}

Deno.test({
  name: "main() shows an error on stderr when its JSON cannot be written",
  ignore: !isLinux,
  async fn() {
    const { code, stderr } = await runCli(["deploy", "--modle", "x", "--json"], {
      redirect: "> /dev/full",
    });
    assert.equal(code, 2);
    assert.match(stderr, /^error: Cannot find flag "--modle"/);
  },
});

Deno.test({
  name: "main() goes on without progress when stderr takes nothing",
  ignore: !isLinux,
  async fn() {
    const { code, stdout } = await runCli(GENERATE, { redirect: "2> /dev/full" });
    assert.equal(code, 0);
    assert.match(stdout, /^Once upon a time, \w+/);
    const failed = await runCli(["deploy", "--modle", "x"], { redirect: "2> /dev/full" });
    assert.equal(failed.code, 2);
  },
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

Deno.test("styleOf() has no colours on a dumb terminal, or where NO_COLOR is set", async () => {
  const script = `
    import { styleOf } from ${JSON.stringify(new URL("cli/terminal.ts", ROOT).href)};
    console.log(styleOf(true).red("x") === "x");
  `;
  const isPlain = async (env: Record<string, string>) => {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", script],
      env: { TERM: "xterm", NO_COLOR: "", ...env },
    }).output();
    return new TextDecoder().decode(stdout).includes("true");
  };
  assert.deepEqual(
    await Promise.all([isPlain({}), isPlain({ TERM: "dumb" }), isPlain({ NO_COLOR: "1" })]),
    [false, true, true],
  );
  assert.equal(styleOf(false).red("x"), "x");
});
