/**
 * `deno task compile`: one file that serves the bundled model on a machine with nothing installed.
 *
 * `deno compile` is not used: it makes a program of one process with one set of permissions, and a
 * server starts its engine as a second process with fewer. So the file is `executable.sh` with an
 * archive behind it: the Deno that runs now, the sources, the libraries of `runtime.lock` and the
 * model. It is for machines of the same system and processor as this one.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import config from "../deno.json" with { type: "json" };
import { taskPermissions } from "../cli/task_permissions.ts";
import stub from "./executable.sh" with { type: "text" };

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** What a server reads of the repository. */
const PARTS = [
  ...["cli", "configs", "deps", "dsl", "graph", "kernels", "models", "runtime", "server"],
  ...["transforms", "mod.ts", "runtime.lock", "LICENSE"],
];

const MODEL_FILES = [
  ...["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"],
  ...["tokenizer_config.json", "MODEL_CARD.md"],
];

/** Programs that do nothing when they hear nothing, and import all that there is to import. */
const ENTRIES = ["cli/serve_model.ts", "server/engine/main.ts", "models/loading/weight_worker.ts"];

if (import.meta.main) await compile(Deno.args[0] ?? join(ROOT, "dist"));

/** Writes `mixline-serve` into a folder. */
async function compile(folder: string): Promise<void> {
  const output = join(folder, "mixline-serve");
  await Deno.mkdir(folder, { recursive: true });
  const stage = await Deno.makeTempDir({ dir: folder, prefix: "stage_" });
  try {
    await gather(stage);
    await checkOffline(stage);
    const archive = join(stage, "archive.tar.gz");
    const names = [...PARTS, "bin", "demo", "deno.json", "deno_dir"];
    await run("tar", ["-czf", archive, "-C", stage, ...names]);
    const bytes = await Deno.readFile(archive);
    const parts = new Blob([await scriptOf(bytes), bytes]);
    await Deno.writeFile(output, parts.stream(), { mode: 0o755 });
    console.log(`${output}: ${(bytes.length / 1e6).toFixed(0)} MB, ${Deno.build.target}`);
  } finally {
    await Deno.remove(stage, { recursive: true });
  }
}

/** Puts everything of the archive into a folder. */
async function gather(stage: string): Promise<void> {
  for (const part of PARTS) await copy(join(ROOT, part), join(stage, part));
  for (const file of MODEL_FILES) {
    await copy(join(ROOT, "demo/storyteller", file), join(stage, "demo/storyteller", file));
  }
  // Engines are started without a lock of their own; they find this one.
  const offline = { ...config, lock: { path: "runtime.lock", frozen: true } };
  await Deno.writeTextFile(join(stage, "deno.json"), JSON.stringify(offline, null, 2));
  await copy(await Deno.realPath(Deno.execPath()), join(stage, "bin/deno"));
  const lock = JSON.parse(await Deno.readTextFile(join(ROOT, "runtime.lock")));
  const lockFlags = [`--lock=${join(ROOT, "runtime.lock")}`, "--frozen"];
  await run("deno", [
    "cache",
    "--quiet",
    ...lockFlags,
    ...ENTRIES.map((entry) => join(ROOT, entry)),
  ]);
  const packages = await npmCache();
  for await (const { name: registry, isDirectory } of Deno.readDir(packages)) {
    if (isDirectory) {
      const to = join(stage, "deno_dir/npm", registry);
      await copyPackages(Object.keys(lock.npm), join(packages, registry), to);
    }
  }
}

/** Copies the packages of the lock from one registry's folder, as far as it has them. */
async function copyPackages(keys: readonly string[], from: string, to: string): Promise<void> {
  for (const key of keys) {
    // `name@version`, and the versions of peers after an underscore.
    const [, name, version] = key.match(/^(@?[^@]+)@([^_]+)/) ?? [];
    if (name === undefined || !existsSync(join(from, name, version))) continue;
    await copy(join(from, name, version), join(to, name, version));
    // Versions that the lock names are found without the registry's list, which may not have been asked for.
    const list = join(from, name, "registry.json");
    if (existsSync(list)) await copy(list, join(to, name, "registry.json"));
  }
}

/** Loads every program from what was gathered alone: a file that is missing is found here. */
async function checkOffline(stage: string): Promise<void> {
  for (const entry of ENTRIES) {
    const args = ["run", "--quiet", "--no-prompt", "--cached-only", "--allow-read", "--allow-env"];
    await run("deno", [...args, join(stage, entry)], {
      DENO_DIR: join(stage, "deno_dir"),
    });
  }
  // Compiled sources are kept by their path, which will be another one.
  await Deno.remove(join(stage, "deno_dir/gen"), { recursive: true });
}

async function scriptOf(archive: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", archive));
  // The program that it may start is another one: its own Deno, which the script knows.
  const permissions = taskPermissions("serve").filter((flag) => flag !== "--allow-run=deno")
    .map((flag) => `'${flag}'`).join(" ");
  const id = `${config.version}-${digest.toHex().slice(0, 16)}`;
  const lines = stub.split("\n").length;
  return stub.replaceAll("@ID@", id).replaceAll("@LINES@", String(lines))
    .replace("@PERMISSIONS@", permissions);
}

/** Deno's folder of packages. */
async function npmCache(): Promise<string> {
  const { npmCache: path } = JSON.parse(await run("deno", ["info", "--json"]));
  return path;
}

async function run(command: string, args: string[], env = {}): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args, env, stdin: "null" })
    .output();
  if (success) return new TextDecoder().decode(stdout);
  throw new Error(`Cannot run ${command} ${args[0]}: ${new TextDecoder().decode(stderr).trim()}`);
}

/** Copies a file or a folder, and what links in it point to. */
async function copy(from: string, to: string): Promise<void> {
  await cp(from, to, { recursive: true, dereference: true });
}
