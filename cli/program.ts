/**
 * The command line, whatever starts its servers: finds the command, and turns errors into a message and an exit code.
 *
 * | exit code | meaning |
 * |---|---|
 * | 0 | done |
 * | 1 | a failure, such as a full disk, or a bug |
 * | 2 | bad input: flags, YAML, prompts |
 * | 3 | the checkpoint: folder, config.json, tensors, tokenizer |
 * | 4 | no kernel serves a node |
 * | 5 | the device: adapter, limits, memory |
 * | 130 | stopped with Ctrl-C |
 *
 * @module
 */

import { Command, CommanderError, type CommandUnknownOpts } from "../deps/commander.ts";
import { OutputError } from "../graph/mod.ts";
import type { CommandContext } from "./command.ts";
import { completionsCommand } from "./completions.ts";
import { deployCommand } from "./deploy.ts";
import { exportCommand } from "./export.ts";
import { flagError, refuseEmptyNames } from "./flags.ts";
import { setGpuEnvironment } from "./gpu_environment.ts";
import { generateCommand } from "./generate.ts";
import { inspectCommand } from "./inspect.ts";
import { VERSION } from "./permissions.ts";
import { errorToJson, EXIT_INTERRUPTED, exitCodeOf, renderError } from "./render.ts";
import { runCommand } from "./run_script.ts";
import { openTerminal, type Terminal } from "./terminal.ts";
import { tuneCommand } from "./tune.ts";
import { enterUserFolder } from "./user_folder.ts";

/** Makes a command. */
export type CommandMaker = (context: CommandContext) => CommandUnknownOpts;

/** A command is one file and one line here; `serve` is the entry's own, as it has the most libraries. */
const commandsWith = (serve: CommandMaker): readonly CommandMaker[] => [
  deployCommand,
  serve,
  inspectCommand,
  tuneCommand,
  runCommand,
  generateCommand,
  exportCommand,
  completionsCommand,
];

/**
 * Milliseconds in which a second signal is the same Ctrl-C: a terminal tells all processes of a task, and
 * `deno task` passes on to this one what it was told itself.
 */
const ONE_CTRL_C_MS = 200;

/** Runs a command line and gives its exit code. */
export async function runProgram(argv: readonly string[], serve: CommandMaker): Promise<number> {
  const args = withCommand(argv);
  const has = (flag: string) => args.includes(flag);
  const terminal = openTerminal({ json: has("--json"), quiet: has("--quiet") });
  const interrupt = new AbortController();
  // The first Ctrl-C ends what runs in order, the second one at once.
  let interruptedAt: number | undefined;
  const onInterrupt = () => {
    interruptedAt ??= performance.now();
    if (!interrupt.signal.aborted) interrupt.abort();
    else if (performance.now() - interruptedAt > ONE_CTRL_C_MS) Deno.exit(EXIT_INTERRUPTED);
  };
  Deno.addSignalListener("SIGINT", onInterrupt);
  const program = createProgram({ terminal, signal: interrupt.signal }, serve);
  try {
    setGpuEnvironment();
    enterUserFolder();
    await program.parseAsync(args, { from: "user" });
    return Deno.exitCode;
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0;
    const error = thrown instanceof CommanderError ? flagError(thrown, program, args) : thrown;
    // The reader of a pipe may leave early, as `head` does.
    if (error instanceof Deno.errors.BrokenPipe) return 0;
    report(interrupt.signal.aborted ? interrupt.signal.reason : error, terminal, has("--debug"));
    return interrupt.signal.aborted ? exitCodeOf(interrupt.signal.reason) : exitCodeOf(error);
  } finally {
    Deno.removeSignalListener("SIGINT", onInterrupt);
  }
}

/** All commands, unparsed. */
export function createProgram(context: CommandContext, serve: CommandMaker) {
  const program = new Command("mixline")
    .description("Deploys mixture-of-experts language models on any GPU, through WebGPU")
    .version(VERSION, "-V, --version", "print the version")
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => context.terminal.result(text),
      // Errors are thrown, and shown by `report`.
      writeErr: () => {},
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .helpCommand(false)
    .hook("preAction", (_program, command) => refuseEmptyNames(command));
  for (const make of commandsWith(serve)) {
    program.addCommand(make(context).copyInheritedSettings(program));
  }
  return program;
}

/** `mixline --model x` is `mixline deploy --model x`; `deploy --serve` is `serve`. */
export function withCommand(argv: readonly string[]): string[] {
  const [first] = argv;
  const isHelp = ["--help", "-h", "--version", "-V"].includes(first);
  const hasCommand = isHelp || (first !== undefined && !first.startsWith("-"));
  const [command, ...flags] = hasCommand ? argv : ["deploy", ...argv];
  const serves = command === "deploy" && flags.includes("--serve");
  return serves ? ["serve", ...flags.filter((flag) => flag !== "--serve")] : [command, ...flags];
}

/** Shows an error; on stderr too where stdout is what failed. */
function report(error: unknown, terminal: Terminal, stack: boolean): void {
  const say = () => terminal.complain(renderError(error, terminal.style, stack));
  if (!terminal.json || error instanceof OutputError) return say();
  try {
    terminal.result(`${JSON.stringify(errorToJson(error, stack), null, 2)}\n`);
  } catch {
    say();
  }
}
