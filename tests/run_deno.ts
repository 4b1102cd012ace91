/**
 * Runs a process of the tests, and ends one that hangs: a test that never ends would otherwise hold
 * the whole run up, without a word about which test it is.
 *
 * @module
 */

import { ROOT } from "./groups.ts";
import { gpuEnvironment } from "./vulkan.ts";

/** What a process has printed, and its exit code. */
export interface Result {
  readonly code: number;
  readonly output: string;
}

/** Shows a piece of what a process prints. */
export type Printer = (text: string) => void;

/** How long a process may print nothing, in milliseconds; the longest test takes a tenth of it. */
const LONGEST_SILENCE = 600_000;

/** What deno test says now and then of a test that does not end, which is no sign of life. */
const SLOW_NOTE = /^'.*' has been running for over \(.*\)$/gm;

/**
 * Runs deno; its errors come on stderr, as it writes them. A process that prints nothing for
 * `longestSilence` milliseconds is killed and counts as failed; the last line it printed tells where
 * it hung, as deno prints the name of a test before it runs.
 */
export async function runDeno(
  args: string[],
  env: Readonly<Record<string, string>>,
  print: Printer,
  longestSilence: number = LONGEST_SILENCE,
): Promise<Result> {
  const color = Deno.stdout.isTerminal() && !Deno.env.get("NO_COLOR");
  const child = new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env: { ...gpuEnvironment(), ...color ? { FORCE_COLOR: "1" } : { NO_COLOR: "1" }, ...env },
    stdin: "null",
    stdout: "piped",
  }).spawn();
  let output = "";
  const show = (text: string) => {
    print(text);
    output += text;
  };
  let isSilent = false;
  const kill = () => {
    isSilent = true;
    child.kill("SIGKILL");
  };
  let timer = setTimeout(kill, longestSilence);
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    show(text);
    if (text.replace(SLOW_NOTE, "").trim() === "") continue;
    clearTimeout(timer);
    timer = setTimeout(kill, longestSilence);
  }
  const { code, signal } = await child.status;
  clearTimeout(timer);
  if (isSilent) {
    const last = output.replace(SLOW_NOTE, "").trimEnd().split("\n").at(-1);
    show(`\nERRORS\nEnded after ${longestSilence / 1000} s without output, in: ${last}\n`);
  } else if (signal !== null) console.error(`deno ${args[0]} was ended by ${signal}`);
  return { code: code || Number(isSilent), output };
}
