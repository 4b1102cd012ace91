/**
 * Runs the real command line in a process of its own, with the permissions of its task.
 *
 * @module
 */

import { FULL_VARIABLE, type ProcessResult, resultOf } from "./process_result.ts";
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
 * that runs several, one after another. Where a test needs no more of that one than its environment,
 * it uses {@linkcode runSharedCli}.
 */
export async function runCli(
  args: readonly string[],
  options?: CliOptions,
): Promise<CliResult> {
  return options ? await resultOf(cliCommand(args, options)) : await shared.run(args);
}

/** Runs a command line in the process that runs several, with `env` beside its environment. */
export function runSharedCli(args: readonly string[], env: HostRequest["env"]): Promise<CliResult> {
  return shared.run(args, env);
}

/** The process of a run, to be spawned by a test that talks to it. */
export function cliCommand(args: readonly string[], options: CliOptions = {}): Deno.Command {
  const command = ["run", ...flagsOf("deploy"), new URL("cli/main.ts", ROOT).pathname, ...args];
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

/** Flags of `deno run`: the lock of all that `cli/main.ts` imports, and permissions of a task. */
function flagsOf(task: "deploy" | "tune"): string[] {
  const words: string[] = tasks[task].command.split(" ");
  const home = Deno.env.get("HOME") ?? "/nonexistent";
  const granted = words.map((word) => word.replaceAll('"', "").replace("$HOME", home))
    .filter((word) => word.startsWith("--allow-"));
  return [`--lock=${new URL("runtime.lock", ROOT).pathname}`, ...granted];
}

const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));

/** What a host is asked. */
export interface HostRequest {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** Settings of a {@linkcode CliHost}. */
export interface HostOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Flags of `deno run`, or the task whose permissions it has; default `deploy`. */
  readonly granted?: readonly string[] | "deploy" | "tune";
  /** A stream that goes to /dev/full, which answers every write as a full disk does. */
  readonly full?: "stdout" | "stderr";
}

/** A process that runs command lines, one after another, in a folder. */
export class CliHost implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #question: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: ReadableStreamDefaultReader<string>;
  #lastRun: Promise<unknown> = Promise.resolve();

  constructor(folder: string, { env, full, granted = "deploy" }: HostOptions = {}) {
    const answers = full === "stdout" ? "stderr" : "stdout";
    const host = new URL("cli_host.ts", import.meta.url).pathname;
    const flags = typeof granted === "string" ? flagsOf(granted) : granted;
    const command = ["run", ...flags, host];
    const redirect = full === "stdout" ? "> /dev/full" : "2> /dev/full";
    const shell = full && ["-c", `exec "$0" "$@" ${redirect}`, Deno.execPath()];
    this.#process = new Deno.Command(shell ? "sh" : Deno.execPath(), {
      args: [...shell ?? [], ...command],
      cwd: folder,
      env: { NO_COLOR: "1", ...env, ...full && { [FULL_VARIABLE]: full } },
      stdin: "piped",
      stdout: answers === "stdout" ? "piped" : "inherit",
      stderr: answers === "stderr" ? "piped" : "inherit",
    }).spawn();
    this.#question = this.#process.stdin.getWriter();
    this.#answers = this.#process[answers].pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Runs a command line, its output kept; with `env` besides the environment of the process. */
  async run(args: readonly string[], env: HostRequest["env"] = {}): Promise<CliResult> {
    const result = this.#lastRun.then(() => this.#ask({ args, env }));
    this.#lastRun = result.catch(() => {});
    return await result;
  }

  async #ask(request: HostRequest): Promise<CliResult> {
    await this.#question.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`));
    let line = "";
    while (!line.endsWith("\n")) {
      const { done, value } = await this.#answers.read();
      if (done) {
        throw new Error(
          `mixline ${request.args.join(" ")} ended the process of its tests: ${line}`,
        );
      }
      line += value;
    }
    return JSON.parse(line);
  }

  /** Ends the process. */
  async [Symbol.asyncDispose](): Promise<void> {
    // It may have ended by itself, which its last answer has told.
    await this.#question.close().catch(() => {});
    await this.#answers.cancel();
    await this.#process.status;
  }
}

/**
 * Runs what needs no process of its own; it ends with this one, which closes its standard input. As it
 * also keeps this one alive, only modules that deno test ends itself may import this file.
 */
const shared = new CliHost(ROOT.pathname);
