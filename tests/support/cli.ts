/**
 * Runs the real command line in a process of its own, with the permissions of its task.
 *
 * @module
 */

import { type ProcessResult, resultOf } from "./process_result.ts";
import { ROOT } from "./root.ts";

/** What a run of the command line gave. */
export type CliResult = ProcessResult;

/** Settings of {@linkcode runCli}. */
export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** A redirection in a shell's words, such as `> /dev/full`. */
  readonly redirect?: string;
}

/**
 * Runs a command line, its output kept: in a process of its own with `options`, and without any in one
 * that runs several, one after another.
 */
export async function runCli(
  args: readonly string[],
  options?: CliOptions,
): Promise<CliResult> {
  if (options === undefined) {
    const result = lastRun.then(() => askHost(args));
    lastRun = result.catch(() => {});
    return await result;
  }
  return await resultOf(cliCommand(args, options));
}

/** The process of a run, to be spawned by a test that talks to it. */
export function cliCommand(args: readonly string[], options: CliOptions = {}): Deno.Command {
  const command = ["run", ...PERMISSIONS, new URL("cli/main.ts", ROOT).pathname, ...args];
  const { redirect } = options;
  // Of the arguments after `-c` and its text, the first is $0 and the others are "$@".
  const shell = ["-c", `exec "$0" "$@" ${redirect}`, Deno.execPath(), ...command];
  return new Deno.Command(redirect === undefined ? Deno.execPath() : "sh", {
    args: redirect === undefined ? command : shell,
    cwd: options.cwd ?? ROOT.pathname,
    env: { NO_COLOR: "1", ...options.env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Flags of `deno run` in the task `deploy`. */
const PERMISSIONS: readonly string[] = await readPermissions();

async function readPermissions(): Promise<string[]> {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const words: string[] = tasks.deploy.command.split(" ");
  const home = Deno.env.get("HOME") ?? "/nonexistent";
  return words.map((word) => word.replaceAll('"', "").replace("$HOME", home))
    .filter((word) => word.startsWith("--"));
}

/**
 * Runs what needs no process of its own; it ends with this one, which closes its standard input. As it
 * also keeps this one alive, only modules that deno test ends itself may import this file.
 */
const host = new Deno.Command(Deno.execPath(), {
  args: ["run", ...PERMISSIONS, new URL("cli_host.ts", import.meta.url).pathname],
  cwd: ROOT.pathname,
  env: { NO_COLOR: "1" },
  stdin: "piped",
  stdout: "piped",
}).spawn();
const question = host.stdin.getWriter();
const answers = host.stdout.pipeThrough(new TextDecoderStream()).getReader();
let lastRun: Promise<unknown> = Promise.resolve();

async function askHost(args: readonly string[]): Promise<CliResult> {
  await question.write(new TextEncoder().encode(`${JSON.stringify(args)}\n`));
  let line = "";
  while (!line.endsWith("\n")) {
    const { done, value } = await answers.read();
    if (done) throw new Error(`mixline ${args.join(" ")} ended the process of its tests: ${line}`);
    line += value;
  }
  return JSON.parse(line);
}
