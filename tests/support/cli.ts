/**
 * Runs the real command line in a process of its own, with the permissions of its task.
 *
 * @module
 */

const ROOT = new URL("../../", import.meta.url);

/** What a run of the command line gave. */
export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Settings of {@linkcode runCli}. */
export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs `deno task <command> ...args` without the task runner, its output kept. */
export async function runCli(
  args: readonly string[],
  options: CliOptions = {},
): Promise<CliResult> {
  const output = await cliCommand(args, options).output();
  return {
    code: output.code,
    stdout: new TextDecoder().decode(output.stdout),
    stderr: new TextDecoder().decode(output.stderr),
  };
}

/** The process of a run, to be spawned by a test that talks to it. */
export function cliCommand(args: readonly string[], options: CliOptions = {}): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", ...PERMISSIONS, new URL("cli/main.ts", ROOT).pathname, ...args],
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
  return words.filter((word) => word.startsWith("--"));
}
