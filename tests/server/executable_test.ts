/**
 * The file of `deno task compile`, started where there is nothing but a few programs of any Linux: no
 * Deno, no cache, no home folder.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { resultOf } from "../support/process_result.ts";
import { slowTest } from "../support/quick.ts";

const COMPILE = fileURLToPath(new URL("../../deploy/compile.ts", import.meta.url));

/** What the script says that it needs. */
const PROGRAMS = ["tail", "tar", "gzip", "mkdir", "mktemp", "mv", "rm", "id"];

slowTest("an executable serves the bundled model on a machine with nothing installed", async () => {
  const folder = await Deno.makeTempDir({ prefix: "mixline_executable_" });
  try {
    // Packed in a third of the time; where gzip does not know the variable, it packs as well as ever.
    const fast = { ...Deno.env.toObject(), GZIP: "-1" };
    const built = await output(Deno.execPath(), ["run", "-A", "--no-lock", COMPILE, folder], fast);
    assert.match(built.stdout, /mixline-serve: \d+ MB/, built.stderr);
    assert.deepEqual((await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name), [
      "mixline-serve",
    ]);
    const environment = await makeBareMachine(folder);
    await serveOnce(`${folder}/mixline-serve`, environment);
    // A second start finds what the first one has unpacked.
    const cache = `${environment.XDG_CACHE_HOME}/mixline`;
    const [{ name }, ...rest] = await Array.fromAsync(Deno.readDir(cache));
    assert.deepEqual(rest, []);
    const before = (await Deno.stat(`${cache}/${name}/bin/deno`)).ino;
    const help = await output(`${folder}/mixline-serve`, ["--help"], environment);
    assert.match(help.stdout, /^Usage: mixline serve/);
    assert.equal((await Deno.stat(`${cache}/${name}/bin/deno`)).ino, before);

    const wrong = await output(`${folder}/mixline-serve`, ["--prot", "0"], environment);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /--port/);
    const away = { ...environment, XDG_CACHE_HOME: "/proc/nowhere" };
    const unwritable = await output(`${folder}/mixline-serve`, [], away);
    assert.equal(unwritable.code, 1);
    assert.match(unwritable.stderr, /error: Cannot unpack: .* Set XDG_CACHE_HOME/);
    const { stdout } = await output(`${folder}/mixline-serve`, ["--version"], away);
    assert.equal(stdout.trim(), name);
    const full = { ...environment, PATH: await makeFullTar(folder), XDG_CACHE_HOME: folder };
    const noRoom = await output(`${folder}/mixline-serve`, [], full);
    assert.equal(noRoom.code, 1);
    assert.match(noRoom.stderr, /^error: Cannot unpack .*, got: tar: a: No space left\n$/);
    await Deno.truncate(`${folder}/mixline-serve`, 1 << 20);
    const elsewhere = { ...environment, XDG_CACHE_HOME: `${folder}/other` };
    const cut = await output(`${folder}/mixline-serve`, [], elsewhere);
    assert.equal(cut.code, 1);
    assert.match(cut.stderr, /expected a whole file/);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(`${folder}/other/mixline`)), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Starts the server, asks it, and ends it with SIGTERM. */
async function serveOnce(path: string, env: Record<string, string>): Promise<void> {
  const child = new Deno.Command(path, {
    args: ["--port", "0", "--executor", "cpu", "--log-level", "error"],
    ...{ env, clearEnv: true, stdin: "null", stdout: "piped", stderr: "piped" },
  }).spawn();
  let hasEnded = false;
  try {
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value: url = "" } = await reader.read();
    if (url === "") {
      hasEnded = true;
      assert.fail(await new Response(child.stderr).text());
    }
    const answer = await fetch(`${url.trim()}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        model: "storyteller",
        messages: [{ role: "user", content: "Tell me a story about a fox" }],
        max_tokens: 8,
      }),
    });
    const { usage } = await answer.json();
    assert.equal(usage.completion_tokens, 8);
    child.kill("SIGTERM");
    await Promise.all([reader.cancel(), child.stderr.cancel()]);
    const { code, signal } = await child.status;
    hasEnded = true;
    assert.deepEqual({ code, signal }, { code: 0, signal: null });
  } finally {
    if (!hasEnded) child.kill("SIGKILL");
  }
}

/** The environment of a machine that has only the programs of the list. */
async function makeBareMachine(folder: string): Promise<Record<string, string>> {
  const programs = `${folder}/programs`;
  await Deno.mkdir(programs);
  for (const program of PROGRAMS) {
    const { stdout } = await output("sh", ["-c", `command -v ${program}`]);
    await Deno.symlink(stdout.trim(), `${programs}/${program}`);
  }
  return { PATH: programs, XDG_CACHE_HOME: `${folder}/cache` };
}

/** Programs whose `tar` finds a full disk. */
async function makeFullTar(folder: string): Promise<string> {
  const programs = `${folder}/full`;
  await Deno.mkdir(programs);
  for await (const { name } of Deno.readDir(`${folder}/programs`)) {
    if (name !== "tar") await Deno.symlink(`${folder}/programs/${name}`, `${programs}/${name}`);
  }
  const words =
    "#!/bin/sh\nfor file in a b c; do echo tar: $file: No space left >&2; done\nexit 2\n";
  await Deno.writeTextFile(`${programs}/tar`, words, { mode: 0o755 });
  return programs;
}

function output(command: string, args: string[], env?: Record<string, string>) {
  const options = { args, ...(env && { env, clearEnv: true }), stdin: "null" } as const;
  return resultOf(new Deno.Command(command, options));
}
