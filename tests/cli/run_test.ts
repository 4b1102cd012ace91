/**
 * `run`, `completions`, `--version`, and the installed command.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { runCli } from "../support/cli.ts";
import { ROOT } from "../support/root.ts";
import { slowTest } from "../support/quick.ts";

const MOD = new URL("mod.ts", ROOT).href;

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "mixline run " });
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const SCRIPT = `
import { pipeline } from ${JSON.stringify(MOD)};
await using engine = await pipeline().deploy({
  model: ${JSON.stringify(decodeURIComponent(new URL("demo/storyteller", ROOT).pathname))},
  executor: "cpu",
});
const options = { maxNewTokens: 4, temperature: 0 };
console.log(Deno.args.join("|"), await engine.generate("Once upon a time", options).text());
if (Deno.args.includes("--fail")) Deno.exit(7);
`;

slowTest(
  "run gives a script its arguments and permissions, and takes over its exit code",
  async () => {
    await inFolder(async (folder) => {
      await Deno.writeTextFile(join(folder, "mine.ts"), SCRIPT);
      const { code, stdout, stderr } = await runCli(["run", "mine.ts", "a", "--fail", "-n"], {
        cwd: folder,
      });
      assert.equal(stdout, "a|--fail|-n , there was a\n", stderr);
      assert.equal(code, 7);
      const missing = await runCli(["run", "nowhere.ts"], { cwd: folder });
      assert.equal(missing.code, 2);
      assert.match(missing.stderr, /Cannot run script "nowhere\.ts": expected a file, got none/);
    });
  },
);

Deno.test("--version prints the version of the package", async () => {
  const { version } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const { code, stdout } = await runCli(["--version"]);
  assert.deepEqual([code, stdout], [0, `${version}\n`]);
});

Deno.test("completions of bash offer commands, flags and their values", async () => {
  await inFolder(async (folder) => {
    const { stdout } = await runCli(["completions", "bash"]);
    const file = join(folder, "mixline.bash");
    await Deno.writeTextFile(file, stdout);
    const complete = async (...words: string[]) => {
      const script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mixline; ' +
        'echo "${COMPREPLY[@]}"';
      const args = ["-c", script, "bash", file, "mixline", ...words];
      const { stdout } = await new Deno.Command("bash", { args }).output();
      return new TextDecoder().decode(stdout).trim().split(" ");
    };
    assert.ok((await complete("")).includes("deploy"));
    assert.ok((await complete("de")).every((word) => word === "deploy"));
    assert.ok((await complete("deploy", "--max")).includes("--max-new-tokens"));
    assert.deepEqual(await complete("deploy", "--executor", "w"), ["webgpu"]);
    assert.deepEqual(await complete("inspect", "te"), ["tensors"]);
    // The shell completes names of files by itself.
    assert.deepEqual(await complete("deploy", "--config", ""), [""]);
  });
});

Deno.test("completions of zsh and fish name every command and flag", async () => {
  for (const shell of ["zsh", "fish"]) {
    const { code, stdout } = await runCli(["completions", shell]);
    assert.equal(code, 0);
    for (const name of ["deploy", "serve", "inspect", "tune", "run", "max-new-tokens", "webgpu"]) {
      assert.ok(stdout.includes(name), `${shell}: ${name}`);
    }
  }
  const { code, stderr } = await runCli(["completions", "tcsh"]);
  assert.equal(code, 2);
  assert.match(stderr, /expected one of bash, zsh, fish, got "tcsh"/);
});

slowTest("the line of the README installs a command that deploys from any folder", async () => {
  const readme = await Deno.readTextFile(new URL("README.md", ROOT));
  const line = readme.match(/^deno (install --global .*) cli\/main\.ts$/m)?.[1];
  assert.ok(line !== undefined, "README says how to install the command");
  await inFolder(async (folder) => {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...line.split(" "), "--root", folder, "cli/main.ts"],
      cwd: ROOT,
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    const run = await new Deno.Command(join(folder, "bin", "mixline"), {
      args: ["deploy", "-x", "cpu", "-n", "4", "-t", "0", "--quiet"],
      cwd: folder,
      env: { NO_COLOR: "1" },
    }).output();
    assert.equal(run.code, 0, new TextDecoder().decode(run.stderr));
    assert.match(new TextDecoder().decode(run.stdout), /there was a/);
  });
});
