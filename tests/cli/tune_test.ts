/**
 * `tune` as its users run it: what it refuses, and that an interruption loses no row.
 *
 * @module
 */

import assert from "node:assert/strict";
import { parseTunedFile } from "../../kernels/mod.ts";
import { webgpuTest } from "../support/adapter.ts";
import { CliHost } from "../support/cli.ts";
import { STORYTELLER } from "../support/model_folder.ts";
import { slowTest } from "../support/quick.ts";

const ROOT = new URL("../../", import.meta.url);
const SHAPE = ["--shape", "32,32,4,2", "--candidates", "2"];

function tuneCommand(args: readonly string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", ...PERMISSIONS, new URL("cli/task.ts", ROOT).pathname, "tune", ...args],
    cwd: ROOT.pathname,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Flags of `deno run` in the task `tune`. */
const PERMISSIONS: readonly string[] = await readPermissions();

async function readPermissions(): Promise<string[]> {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const words: string[] = tasks.tune.command.split(" ");
  return words.filter((word) => word.startsWith("--"));
}

async function runTune(args: readonly string[]) {
  const { code, stdout, stderr } = await tuneCommand(args).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Tokens of the only table in a folder, which must be well formed. */
async function rowsOf(folder: string): Promise<number[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) names.push(name);
  assert.equal(names.length, 1, names.join());
  const path = `${folder}/${names[0]}`;
  return [...parseTunedFile({ path, text: await Deno.readTextFile(path) }).keys()];
}

/** Command lines that are refused, with what is said of each: without a stack trace. */
async function refuse(
  folder: string,
  table: readonly (readonly [args: readonly string[], code: number, says: RegExp])[],
): Promise<void> {
  await using host = new CliHost(folder, { granted: "tune" });
  for (const [args, expected, says] of table) {
    const { code, stdout, stderr } = await host.run(["tune", ...args]);
    assert.deepEqual([code, stdout], [expected, ""], `${args}: ${stderr}`);
    assert.match(stderr, says);
    assert.doesNotMatch(stderr, /^\s+at |bug in Mixline/m);
  }
}

webgpuTest("tune refuses what it cannot read, with exit code 2 and no stack trace", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await refuse(folder, [
      [["--shape", "32,32,4"], 2, /flag "--shape": expected 4 whole numbers .* got "32,32,4"/],
      [[...SHAPE, "--executor", "cpu"], 2, /flag "--executor": expected auto or webgpu, got cpu/],
      [["--shape", "32,32,4,0"], 2, /flag "--shape": expected 4 whole numbers/],
      [["--shape", "32,32,4,5"], 2, /flag "--shape": expected at most 4 chosen experts, got 5/],
      [[...SHAPE, "--tokens", "1,x"], 2, /flag "--tokens": expected a list of whole numbers/],
      [["--format", "f16"], 2, /flag "--format" with a model: expected --shape/],
      [["--operands", "f16"], 2, /flag "--operands" with a model: expected --shape/],
      [[...SHAPE, "--only", "linear"], 2, /flag "--only" with --shape: expected a model/],
      [
        ["--only", "lineer"],
        2,
        /--only": expected one of experts, linear, attention, got "lineer"/,
      ],
      [[...SHAPE, "--operands", "f8"], 2, /--operands.*f8/],
      [[...SHAPE, "--format", "f17"], 2, /--format.*f17/],
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

slowTest("tune finds an --out that cannot be written before it opens a device", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/file`;
    await Deno.writeTextFile(file, "");
    await refuse(folder, [
      [
        [...SHAPE, "--out", file],
        1,
        /Cannot write ".*file": expected a folder ".*file", got a file/,
      ],
      [[...SHAPE, "--out", `${file}/tables`], 1, /Cannot write ".*tables": .*got a file/],
    ]);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["file"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

webgpuTest("tune keeps times with f16 operands in a table of their own", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const args = [...SHAPE, "--operands", "f16", "--tokens", "16", "--out", folder];
    const { code, stderr } = await runTune(args);
    assert.equal(code, 0, stderr);
    const [{ name }] = [...Deno.readDirSync(folder)];
    assert.match(name, /^E=4,N=32,device_name=[\w.-]+,operands=f16\.json$/);
    assert.deepEqual(await rowsOf(folder), [16]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

webgpuTest("tune takes the operands of a model from its pipeline", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const own = ["--model", STORYTELLER, "--set", "transforms.fuse_moe.operands=f16"];
    const one = ["--only", "experts", "--tokens", "1", "--candidates", "1"];
    const args = [...own, ...one, "--out", folder];
    const { code, stderr } = await runTune(args);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /,operands=f16\.json: 1 row to measure$/m);
    assert.deepEqual(await rowsOf(folder), [1]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

webgpuTest(
  "tune measures a model's dense layers, and says what has nothing to measure",
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      const few = [
        "--model",
        STORYTELLER,
        "--tokens",
        "1,64",
        "--candidates",
        "1",
        "--out",
        folder,
      ];
      const { code, stdout, stderr } = await runTune([...few, "--only", "linear", "attention"]);
      assert.equal(code, 0, stderr);
      const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
      assert.equal(names.length, 3, "one table for each size");
      for (const name of names) {
        assert.match(name, /^linear,N=\d+,K=256,device_name=[\w.-]+\.json$/);
        const rows = JSON.parse(await Deno.readTextFile(`${folder}/${name}`));
        assert.deepEqual(Object.keys(rows), ["1"], "64 rows go through tiles");
      }
      assert.match(stdout, /T=1 .* of read bandwidth, .*x the heuristic/);
      assert.match(stderr, /attention layers are left out: attention has one size here/);
      const nothing = await runTune([...few, "--only", "attention"]);
      assert.equal(nothing.code, 2, nothing.stderr);
      assert.match(
        nothing.stderr,
        /expected layers with sizes to measure among attention, got none/,
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

webgpuTest("tune stopped with Ctrl-C leaves a valid table and continues from it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const args = [...SHAPE, "--tokens", "1,2,64,128,256", "--out", folder];
    const child = tuneCommand(args).spawn();
    const decoder = new TextDecoder();
    let shown = "";
    // The first row is told once its line is in the file.
    for await (const bytes of child.stdout) {
      shown += decoder.decode(bytes, { stream: true });
      if (!/^T=1 /m.test(shown)) continue;
      child.kill("SIGINT");
      break;
    }
    await child.stderr.cancel();
    assert.notEqual((await child.status).code, 0);
    const before = await rowsOf(folder);
    assert.equal(before[0], 1);
    assert.ok(before.length < 5, "it stopped before the end");
    const said = before.includes(2)
      ? "0 rows to measure, 2 rows are there already"
      : "1 row to measure, 1 row is there already";
    const again = await runTune([...SHAPE, "--tokens", "1,2", "--out", folder]);
    assert.equal(again.code, 0, again.stderr);
    assert.ok(again.stderr.includes(said), again.stderr);
    assert.doesNotMatch(again.stdout, /^T=1 /m, "what is known is not measured again");
    assert.deepEqual((await rowsOf(folder)).slice(0, 2), [1, 2]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
