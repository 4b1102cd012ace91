/**
 * What a machine downloads for a task: what a deployment imports, and not what benches and tests do.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { denoDir, resultOf } from "./support/process_result.ts";
import { slowTest } from "./support/quick.ts";
import { ROOT } from "./support/root.ts";

/** Locks of people who deploy: their tasks, what is run there, and how many packages it may bring with it. */
const LOCKS = {
  "deploy.lock": { tasks: ["deploy", "inspect", "tune"], entry: "cli/task.ts", most: 17 },
  "runtime.lock": { tasks: ["serve", "gen"], entry: "cli/main.ts", most: 30 },
};

interface Lock {
  readonly specifiers: Readonly<Record<string, string>>;
  readonly npm: Readonly<Record<string, { readonly integrity: string }>>;
}

const readJson = async (name: string) => JSON.parse(await Deno.readTextFile(new URL(name, ROOT)));

Deno.test("tasks of deployments have a lock of their own, which names what they import", async () => {
  const { tasks, imports } = await readJson("deno.json");
  // What deno.json itself imports would come with every task.
  assert.equal(imports, undefined);
  for (const [file, { tasks: names, entry, most }] of Object.entries(LOCKS)) {
    for (const name of names) {
      const { command } = tasks[name];
      assert.ok(command.includes(`--lock=${file} `), `task ${name}: ${command}`);
    }
    const lock: Lock = await readJson(file);
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["info", "--json", "--lock", file, "--frozen", entry],
      cwd: ROOT,
    }).output();
    const { npmPackages } = JSON.parse(new TextDecoder().decode(stdout));
    const update = `deno cache --lock=${file} ${entry} writes it anew`;
    assert.deepEqual(Object.keys(lock.npm).sort(), Object.keys(npmPackages).sort(), update);
    assert.ok(Object.keys(lock.npm).length <= most, file);
  }
});

Deno.test("the lock of benches and tests names every library", async () => {
  const names = await Array.fromAsync(Deno.readDir(new URL("deps/", ROOT)), ({ name }) => name);
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "--lock=deno.lock", "--frozen", ...names.map((name) => `deps/${name}`)],
    cwd: ROOT,
    env: { NO_COLOR: "1" },
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
});

Deno.test("all locks name the same packages with the same contents", async () => {
  const [all, ...locks]: Lock[] = await Promise.all(
    ["deno.lock", ...Object.keys(LOCKS)].map(readJson),
  );
  for (const lock of locks) {
    for (const [name, { integrity }] of Object.entries(lock.npm)) {
      assert.equal(all.npm[name]?.integrity, integrity, name);
    }
    for (const [specifier, version] of Object.entries(lock.specifiers)) {
      assert.equal(all.specifiers[specifier], version, specifier);
    }
  }
});

slowTest(
  "deploy --serve of the task starts a server with the libraries that it needs itself",
  async () => {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--lock=deploy.lock",
        "--frozen",
        "--allow-read",
        "--allow-env",
        "--allow-run=deno",
      ]
        .concat("cli/task.ts", "deploy", "--serve", "--port", "0", "--executor", "cpu", "--json"),
      ...{ cwd: ROOT, env: { NO_COLOR: "1" }, stdin: "null", stdout: "piped", stderr: "null" },
    }).spawn();
    const lines = child.stdout.pipeThrough(new TextDecoderStream());
    for await (const line of lines) {
      const answer = await fetch(`${JSON.parse(line).url}/v1/models`);
      assert.match(await answer.text(), /storyteller/);
      child.kill("SIGTERM");
    }
    assert.equal((await child.status).code, 0);
  },
);

slowTest("tasks run where the home folder's name has a space", async () => {
  const home = await Deno.makeTempDir({ prefix: "mixline home " });
  try {
    const command = new Deno.Command(Deno.execPath(), {
      args: ["task", "deploy", "--dry-run"],
      cwd: ROOT,
      env: { HOME: home, DENO_DIR: await denoDir(), NO_COLOR: "1" },
    });
    const { code, stdout, stderr } = await resultOf(command);
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^model: .*storyteller/m);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

slowTest(
  "mixline with the least permissions of docs/permissions.md deploys and reports",
  async () => {
    const page = await Deno.readTextFile(new URL("docs/permissions.md", ROOT));
    const [, command] = page.match(/^```sh\n(deno install .*)\n```$/m) ?? [];
    const folder = await Deno.makeTempDir({ prefix: "mixline install " });
    const env = { HOME: join(folder, "home"), DENO_DIR: await denoDir(), NO_COLOR: "1" };
    const sh = async (cwd: string | URL, text: string) => {
      const command = new Deno.Command("sh", { args: ["-c", text], cwd, env, stdin: "null" });
      const { code, stdout, stderr } = await resultOf(command);
      assert.equal(code, 0, `${text}: ${stderr}`);
      return stdout;
    };
    try {
      await sh(ROOT, command.replace("--global", `--global --root "${folder}"`));
      const story = await sh(folder, "bin/mixline deploy --executor cpu -n 4 --temperature 0");
      assert.match(story, /^Once upon a time, there was a$/m);
      const report = await sh(folder, "bin/mixline inspect report --executor cpu");
      assert.equal(report, "graphs/storyteller.html\n");
      // What it may not do it says, with the flag.
      await assert.rejects(
        sh(folder, "bin/mixline tune --out elsewhere --shape 64,32,8,2"),
        /hint: Add --allow-write=elsewhere /,
      );
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
