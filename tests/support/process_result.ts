/**
 * Processes that tests start, and what came of them.
 *
 * @module
 */

/** Names the stream of `cli_host.ts` that takes nothing, "stdout" or "stderr"; it answers on the other one. */
export const FULL_VARIABLE = "MIXLINE_TEST_FULL";

/** What a process that has ended has printed, and its exit code. */
export interface ProcessResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. */
export async function resultOf(command: Deno.Command): Promise<ProcessResult> {
  const { code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Folder of Deno's cache, for processes whose home folder is another. */
export async function denoDir(): Promise<string> {
  const { stdout } = await resultOf(
    new Deno.Command(Deno.execPath(), { args: ["info", "--json"], stdin: "null" }),
  );
  return JSON.parse(stdout).denoDir;
}
