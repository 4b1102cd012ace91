/**
 * Runs command lines one after another in one process, which `cli.ts` starts: half a second for each
 * process is most of what a command takes. Each line of standard input is the arguments of one and its
 * environment, in JSON; each line of standard output, or of standard error where that one is full, is its {@linkcode CliResult}.
 *
 * @module
 */

import { createInterface } from "node:readline";
import process from "node:process";
import { main } from "../../cli/main.ts";
import type { CliResult, HostRequest } from "./cli.ts";
import { FULL_VARIABLE } from "./process_result.ts";

/** The stream that takes nothing, if any: writes to it are to fail as they do. */
const full = Deno.env.get(FULL_VARIABLE);
const answers = full === "stdout" ? Deno.stderr : Deno.stdout;
const answer = answers.writeSync.bind(answers);
const folder = Deno.cwd();

for await (const line of createInterface({ input: process.stdin })) {
  const { args, env }: HostRequest = JSON.parse(line);
  const text = `${JSON.stringify(await run(args, env))}\n`;
  const bytes = new TextEncoder().encode(text);
  for (let done = 0; done < bytes.length;) done += answer(bytes.subarray(done));
}

/** Runs a command line as a process of its own would, its output kept. */
async function run(args: readonly string[], env: HostRequest["env"]): Promise<CliResult> {
  const stdout = full === "stdout" ? () => "" : keepWrites(Deno.stdout);
  const stderr = full === "stderr" ? () => "" : keepWrites(Deno.stderr);
  Deno.exitCode = 0;
  Deno.chdir(folder);
  const before = Object.keys(env).map((name) => [name, Deno.env.get(name)] as const);
  for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
  const code = await main(args);
  for (const [name, value] of before) {
    if (value === undefined) Deno.env.delete(name);
    else Deno.env.set(name, value);
  }
  return { code, stdout: stdout(), stderr: stderr() };
}

/** Keeps what is written to a stream from now on; gives a function that gives it as text. */
function keepWrites(stream: { writeSync(bytes: Uint8Array): number }): () => string {
  const decoder = new TextDecoder();
  let text = "";
  stream.writeSync = (bytes) => {
    text += decoder.decode(bytes, { stream: true });
    return bytes.length;
  };
  return () => text;
}
