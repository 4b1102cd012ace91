/**
 * Every command in the documents: run with models and files of the tests in place of the reader's, on
 * few tokens and small layers. Where that takes what a test machine has not, its flags are read by the
 * command itself; what is left is in a list with what runs it instead.
 *
 * @module
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { reportCommand } from "../bench/report_command.ts";
import { serveBenchCommand } from "../bench/serve_command.ts";
import { createProgram } from "../cli/program.ts";
import { serveCommand } from "../cli/serve.ts";
import { openTerminal } from "../cli/terminal.ts";
import { cliCommand } from "./support/cli.ts";
import { type DocCommand, docCommands, shellWords } from "./support/doc_commands.ts";
import { DocReader } from "./support/doc_reader.ts";
import { slowTest } from "./support/quick.ts";
import { ROOT } from "./support/root.ts";
import { findGroups } from "./groups.ts";
import { readArguments } from "./run.ts";

/** Commands that other tests run. */
const ELSEWHERE: readonly (readonly [RegExp, string])[] = [
  [/^deno task ok$/, "this run is a part of it"],
  [/^deno task gen$/, "tests/generated_test.ts"],
  [/^deno task bench( bench\/moe_bench\.ts)?$/, "tests/outside_backend_test.ts"],
  [/^deno task compile$/, "tests/server/executable_test.ts"],
  [/^deno (install|publish|doc)\b/, "tests/install_test.ts, tests/publish_test.ts"],
  [/^deno (lint|check|cache|compile)\b/, "the gates of a change"],
  [/^deno run http:/, "tests/web_test.ts"],
  [/^(curl|scp|ssh|systemctl|sudo|podman|docker|kubectl|haproxy)\b/, "other programs"],
];

/** Commands whose flags alone are read, with what a test machine lacks. */
const READ_ALONE: readonly (readonly [RegExp, string])[] = [
  [/^(tune|serve) .*--webgpu dawn\b/, "Dawn, a package of a hundred megabytes"],
  [/^bench:report\b/, "the time for whole layers; tests/bench draws a page"],
  [/^bench:serve\b/, "the time for rounds; tests/server serves streams"],
];

const DOCUMENTS = ["README.md", "CONTRIBUTING.md", ...markdownOf("docs"), ...markdownOf("deploy")];

function markdownOf(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].map(({ name }) => `${folder}/${name}`)
    .filter((path) => path.endsWith(".md")).sort();
}

const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));

/** A command line of Mixline's, or of its benches and tests. */
interface Line {
  readonly place: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** The line of a command, or undefined for what other tests run. */
function lineOf({ place, words }: DocCommand): Line | undefined {
  const isVariable = (word: string) => /^[A-Z_]+=/.test(word);
  const first = words.findIndex((word) => !isVariable(word));
  // Others are for drivers.
  const env = Object.fromEntries(
    words.slice(0, first).map((word) => word.split("=", 2)).filter(([name]) =>
      /^(MIXLINE|HF)_/.test(name)
    ),
  );
  const plain = words.slice(first);
  if (plain[0] === "npx") plain.splice(0, 3, "deno");
  // What a shell reads from a process is that process.
  if (plain[0] === "source") plain.splice(0, 2, plain[1].replace("<(", ""));
  const line = plain.map((word) => word.replace(/\)$/, "")).join(" ");
  if (ELSEWHERE.some(([pattern]) => pattern.test(line)) || line === "deno task") return undefined;
  const [program, task, name, ...rest] = line.startsWith("mixline ") ? line.split(" ") : plain;
  if (program === "mixline") return { place, env, args: [task, name, ...rest].filter(Boolean) };
  const main = plain.indexOf("cli/main.ts");
  if (program === "deno" && main > 0) return { place, env, args: plain.slice(main + 1) };
  assert.ok(program === "deno" && task === "task", `${place}: nothing tries "${line}"`);
  assert.ok(name in tasks, `${place}: there is no task ${name}`);
  const [command, provider] = name.split(":");
  if (provider === "dawn") return { place, env, args: [command, "--webgpu", provider, ...rest] };
  return { place, env, args: [name, ...rest] };
}

/** Reads the flags of a command, which does nothing. */
async function readFlags([name, ...flags]: readonly string[]): Promise<void> {
  const benches = [reportCommand(), serveBenchCommand()];
  const context = {
    terminal: openTerminal({ quiet: true }),
    signal: new AbortController().signal,
  };
  const commands = [...benches, ...createProgram(context, serveCommand).commands];
  const command = commands.find((each) => each.name() === name);
  assert.ok(command, name);
  await command.action(() => {}).parseAsync(flags, { from: "user" });
}

/** The paths that a line of `deno task test` names have tests. */
async function checkTestLine([, ...given]: readonly string[]): Promise<void> {
  const { paths } = readArguments(given.filter((arg) => arg !== "--quick"));
  for (const path of paths) assert.ok((await findGroups([path])).length > 0, path);
}

/** Starts a server, waits until it listens, and ends it. */
async function startAndEnd(args: readonly string[], cwd: string): Promise<void> {
  const child = cliCommand(args, { cwd }).spawn();
  const said = new Response(child.stderr).text();
  let text = "";
  let isEnding = false;
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    // A line comes in one piece or in several.
    if (isEnding || !/http:\/\/127\.0\.0\.1:\d+\s/.test(text)) continue;
    isEnding = true;
    child.kill("SIGTERM");
  }
  const { code } = await child.status;
  assert.equal(code, 0, await said);
  assert.ok(isEnding, text);
}

const found = (await Promise.all(
  DOCUMENTS.map(async (path) => docCommands(path, await Deno.readTextFile(new URL(path, ROOT)))),
)).flat();
const lines = found.flatMap((command) => lineOf(command) ?? []);

Deno.test("the documents have commands, and none is in a list that nothing needs", () => {
  assert.ok(found.length > 60 && lines.length > 40, `${found.length}, ${lines.length}`);
  const all = found.map(({ words }) => words.filter((word) => !/^[A-Z_]+=/.test(word)).join(" "));
  for (const [pattern, reason] of ELSEWHERE) {
    const files = reason.match(/tests\/[\w/]+\.ts/g) ?? [];
    for (const file of files) assert.ok(Deno.statSync(new URL(file, ROOT)).isFile, file);
    const isOther = reason === "other programs";
    assert.ok(isOther || all.some((line) => pattern.test(line)), String(pattern));
  }
});

Deno.test("flags of commands that cannot run here are read by the commands themselves", async () => {
  for (const { place, args } of lines) {
    if (args[0] === "test") await checkTestLine(args);
    else if (READ_ALONE.some(([pattern]) => pattern.test(args.join(" ")))) {
      await assert.doesNotReject(readFlags(args), place);
    }
  }
  await assert.rejects(readFlags(["bench:report", "--tokns", "1"]), /unknown option '--tokns'/);
  await assert.rejects(readFlags(["tune", "--webgpu", "down"]), /Allowed choices are native, dawn/);
});

slowTest("every command of the documents runs", async (t) => {
  await using reader = await DocReader.open(fileURLToPath(ROOT));
  const known = new Set<string>();
  for (const { place, args, env } of lines) {
    if (args[0] === "test" || READ_ALONE.some(([pattern]) => pattern.test(args.join(" ")))) {
      continue;
    }
    const small = reader.onSmallInputs(args);
    const key = JSON.stringify([small, env]);
    if (known.has(key)) continue;
    known.add(key);
    await t.step(`${place}: ${args.join(" ")}`, async () => {
      if (small.includes("--port")) return await startAndEnd(small, reader.folder);
      const { code, stderr } = await reader.run(small, env);
      assert.equal(code, 0, `${small.join(" ")}\n${stderr}`);
    });
  }
});

Deno.test("shellWords() splits as a shell does", () => {
  assert.deepEqual(shellWords(`a --b '{c: d}'  "e f"g #h 'i`), ["a", "--b", "{c: d}", "e fg"]);
  assert.deepEqual(shellWords("deno task deploy --json > a.json"), [
    "deno",
    "task",
    "deploy",
    "--json",
  ]);
});
