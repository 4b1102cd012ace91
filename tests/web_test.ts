/**
 * Mixline from the web, and models from a hub of one's own: what is loaded over HTTP runs with the
 * permissions that docs/permissions.md lists.
 *
 * @module
 */

import assert from "node:assert/strict";
import { dirname, extname, join } from "node:path";
import { ID, LocalHub } from "./support/local_hub.ts";
import { makeModelFolder } from "./support/model_folder.ts";
import { denoDir, resultOf } from "./support/process_result.ts";
import { slowTest } from "./support/quick.ts";
import { ROOT } from "./support/root.ts";

const TYPES: Readonly<Record<string, string>> = {
  ".ts": "application/typescript",
  ".js": "text/javascript",
  ".json": "application/json",
};
const GREEDY = ["--executor", "cpu", "-n", "4", "--temperature", "0"];

function deno(cwd: string, args: readonly string[], env: Record<string, string>) {
  return resultOf(
    new Deno.Command(Deno.execPath(), {
      args: [...args],
      cwd,
      env: { NO_COLOR: "1", ...env },
      stdin: "null",
    }),
  );
}

/** Serves the project's folder. */
function serveProject(): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async ({ url }) => {
    const { pathname } = new URL(url);
    const bytes = await Deno.readFile(new URL(`.${pathname}`, ROOT)).catch(() => undefined);
    if (!bytes) return new Response("none", { status: 404 });
    const type = TYPES[extname(pathname)] ?? "application/octet-stream";
    return new Response(bytes, { headers: { "content-type": type } });
  });
}

/** A folder for Deno's cache that has the packages of npm already, and nothing of the web. */
async function makeDenoDir(folder: string): Promise<string> {
  const cache = join(folder, "deno");
  await Deno.mkdir(cache);
  await Deno.symlink(join(await denoDir(), "npm"), join(cache, "npm"));
  return cache;
}

slowTest("the command line and mod.ts run from an address of the web", async () => {
  await using server = serveProject();
  const host = `127.0.0.1:${server.addr.port}`;
  const cwd = await Deno.makeTempDir({ prefix: "mixline web " });
  try {
    const env = { HOME: join(cwd, "home"), DENO_DIR: await makeDenoDir(cwd), XDG_CACHE_HOME: "" };
    const run = ["run", "--no-prompt", "--no-lock", "--allow-env", "--allow-read"];
    const main = `http://${host}/cli/main.ts`;
    const version = await deno(cwd, [...run, main, "--version"], env);
    assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/, version.stderr);

    const refused = await deno(cwd, [...run, main, "deploy", ...GREEDY], env);
    assert.equal(refused.code, 2, refused.stderr);
    const flags = refused.stderr.match(/^hint: Add (--allow-net=\S+) (".*?"|\S+) to /m);
    assert.equal(flags?.[1], `--allow-net=${host}`);
    const write = flags[2].replaceAll('"', "");
    assert.equal(dirname(dirname(write)), `--allow-write=${env.HOME}/.cache/mixline`);
    const deployed = await deno(cwd, [...run, flags[1], write, main, "deploy", ...GREEDY], env);
    assert.match(deployed.stdout, /^Once upon a time, there was a$/m, deployed.stderr);

    const [model] = await Array.fromAsync(
      Deno.readDir(write.replace("--allow-write=", "") + "/.."),
    );
    assert.equal(model.name, "storyteller");
    await Deno.writeTextFile(
      join(cwd, "story.ts"),
      `import { pipeline } from "http://${host}/mod.ts";
       const model = ${JSON.stringify(write.replace("--allow-write=", ""))};
       await using engine = await pipeline().deploy({ model, executor: "cpu" });
       const options = { maxNewTokens: 4, temperature: 0 };
       console.log(await engine.generate("Once upon a time", options).text());`,
    );
    const script = await deno(cwd, [...run, `--allow-import=${host}`, "story.ts"], env);
    assert.equal(script.stdout, ", there was a\n", script.stderr);
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});

slowTest("HF_ENDPOINT is the hub, HF_HOME the folder that its models go to", async () => {
  await using hub = await LocalHub.start();
  hub.redirects = true;
  const cwd = await Deno.makeTempDir({ prefix: "mixline hub " });
  try {
    const model = await makeModelFolder(cwd, {});
    for await (const { name } of Deno.readDir(model)) {
      if (extname(name) !== ".md") hub.files.set(name, await Deno.readFile(join(model, name)));
    }
    const home = join(cwd, "hub home");
    const env = { HF_ENDPOINT: hub.options.hubUrl, HF_HOME: home };
    const host = new URL(hub.options.hubUrl).host;
    const run = ["run", "--no-prompt", "--no-lock", "--allow-env", "--allow-read"];
    const main = new URL("cli/main.ts", ROOT).pathname;
    const args = [main, "deploy", "--model", ID, ...GREEDY];
    const refused = await deno(cwd, [...run, ...args], env);
    assert.match(refused.stderr, new RegExp(`"--allow-write=${home}/hub" --allow-net=${host} `));
    const granted = [`--allow-write=${home}/hub`, `--allow-net=${host}`];
    const deployed = await deno(cwd, [...run, ...granted, ...args], env);
    assert.match(deployed.stdout, /^Once upon a time, there was a$/m, deployed.stderr);
    assert.ok(hub.requests.some((request) => request.startsWith("model.safetensors ")));
    // What is there needs neither the network nor the permission to write.
    hub.status = 500;
    const cached = await deno(cwd, [...run, ...args], env);
    assert.match(cached.stdout, /^Once upon a time, there was a$/m, cached.stderr);
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});
