/**
 * Every command in the documents: run with models and files of the tests in place of the reader's
 * (`deploy` with `--dry-run`, which reads all its flags), or in a list with the reason why not.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { cliCommand, runCli } from "./support/cli.ts";
import { type DocCommand, docCommands, shellWords } from "./support/doc_commands.ts";
import { STORYTELLER } from "./support/model_folder.ts";
import { slowTest } from "./support/quick.ts";
import { ROOT } from "./support/root.ts";

/** Commands that are not run here, and what tries them instead. */
const ELSEWHERE: readonly (readonly [RegExp, string])[] = [
  [/^deno task (test|ok|gen)\b/, "this run, and its gates"],
  [/^deno task bench\b/, "tests/bench, tests/outside_backend_test.ts: minutes of measuring"],
  [/^deno task bench:\w+/, "tests/bench: minutes of measuring"],
  [/^deno task compile$/, "tests/server/executable_test.ts"],
  [/^deno task deploy:dawn\b/, "tests/runtime/webgpu/providers: a package of a hundred megabytes"],
  [/^deno .* --webgpu dawn$/, "the same package"],
  [/^deno (install|publish|doc)\b/, "tests/install_test.ts, tests/publish_test.ts"],
  [/^deno (lint|check|cache|compile)\b/, "the gates of a change"],
  [/^deno run http:/, "tests/web_test.ts"],
  [/^(curl|scp|ssh|source|systemctl|sudo|podman|docker|kubectl|haproxy)\b/, "other programs"],
];

/** What stands for a model of the reader's, which has the chat template or the size that it needs. */
const MODEL_PLACEHOLDER = /^(~\/models\/[\w.-]+|allenai\/[\w.-]+|DIR|x\.gguf)$/;

const DOCUMENTS = ["README.md", "CONTRIBUTING.md", ...markdownOf("docs"), ...markdownOf("deploy")];

function markdownOf(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].map(({ name }) => `${folder}/${name}`)
    .filter((path) => path.endsWith(".md")).sort();
}

const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));

/** The command line's arguments, or undefined for what is tried elsewhere. */
function cliArguments({ place, words }: DocCommand): string[] | undefined {
  const plain = words.filter((word, i) => i > 0 || !/^[A-Z_]+=/.test(word));
  if (plain[0] === "npx") plain.splice(0, 3, "deno");
  const line = plain.join(" ");
  const [program, task, name, ...rest] = plain;
  if (program === "deno" && task === "task") {
    assert.ok(name === undefined || name in tasks, `${place}: there is no task ${name}`);
  }
  if (ELSEWHERE.some(([pattern]) => pattern.test(line)) || line === "deno task") return undefined;
  if (program === "mixline") return plain.slice(1);
  assert.ok(program === "deno" && task === "task", `${place}: nothing tries "${line}"`);
  return [name, ...rest];
}

/** The same command on small inputs: what is named after the reader's files is a file of the tests. */
function onSmallInputs(args: readonly string[]): string[] {
  const small = args.map((arg) => MODEL_PLACEHOLDER.test(arg) ? STORYTELLER : arg);
  const [command] = small;
  if (command === "deploy" && !small.includes("--dry-run") && !small.includes("--serve")) {
    small.push("--dry-run");
  }
  if (command === "serve" || small.includes("--serve")) {
    const port = small.indexOf("--port");
    if (port >= 0) small.splice(port, 2);
    small.push("--port", "0");
  }
  if (command === "generate" || command === "export") {
    const output = small.indexOf("-o") + 1;
    small[output] = join("graphs", small[output]);
  }
  if (command === "tune") smallTune(small);
  return small;
}

/** A layer of a few rows, one number of tokens, one candidate. */
function smallTune(args: string[]): void {
  const set = (flag: string, value: string) => {
    const place = args.indexOf(flag);
    if (place >= 0) args[place + 1] = value;
    else args.push(flag, value);
  };
  if (!args.includes("--model")) set("--shape", "32,16,4,2");
  set("--tokens", "1");
  set("--candidates", "1");
  set("--out", "graphs");
}

/** A folder with the files that the documents name. */
async function readersFolder(): Promise<string> {
  const cwd = await Deno.makeTempDir();
  await Deno.mkdir(join(cwd, "graphs"));
  await Deno.symlink(new URL("examples", ROOT).pathname, join(cwd, "examples"));
  const yaml = `model: ${STORYTELLER}\ntransforms: { fuse_moe: { backend: triton } }\n`;
  await Deno.writeTextFile(join(cwd, "my.yaml"), yaml);
  const script = `import { pipeline } from "${new URL(
    "mod.ts",
    ROOT,
  )}";\nconsole.log(pipeline());\n`;
  await Deno.writeTextFile(join(cwd, "mine.ts"), script);
  return cwd;
}

/** Starts a server, waits until it listens, and ends it. */
async function startAndEnd(args: readonly string[], cwd: string): Promise<void> {
  const child = cliCommand(args, { cwd }).spawn();
  const said = new Response(child.stderr).text();
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    if (text.includes("http://127.0.0.1:")) child.kill("SIGTERM");
  }
  const { code } = await child.status;
  assert.equal(code, 0, await said);
}

const found = (await Promise.all(
  DOCUMENTS.map(async (path) => docCommands(path, await Deno.readTextFile(new URL(path, ROOT)))),
)).flat();

Deno.test("the documents have commands, and each stands for something", () => {
  assert.ok(found.length > 40, `${found.length} commands`);
  for (const command of found) cliArguments(command);
});

const known = new Set<string>();
for (const command of found) {
  const given = cliArguments(command);
  const args = given && onSmallInputs(given);
  if (!args || known.has(args.join(" "))) continue;
  known.add(args.join(" "));
  slowTest(`${command.place}: ${command.words.join(" ")}`, async () => {
    const cwd = await readersFolder();
    try {
      if (args.includes("--port")) return await startAndEnd(args, cwd);
      const { code, stderr } = await runCli(args, { cwd });
      assert.equal(code, 0, `${args.join(" ")}\n${stderr}`);
    } finally {
      await Deno.remove(cwd, { recursive: true });
    }
  });
}

Deno.test("shellWords() splits as a shell does", () => {
  assert.deepEqual(shellWords(`a --b '{c: d}'  "e f"g #h 'i`), ["a", "--b", "{c: d}", "e fg"]);
  assert.deepEqual(shellWords("deno task deploy --json > a.json"), [
    "deno",
    "task",
    "deploy",
    "--json",
  ]);
});
