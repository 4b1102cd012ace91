/**
 * `run`: runs a script that deploys a pipeline, with the permissions that it needs.
 *
 * @module
 */

import { Command } from "../deps/commander.ts";
import { ConfigError } from "../graph/mod.ts";
import type { CommandContext } from "./command.ts";
import { deployPermissions, processNeed, requirePermissions } from "./permissions.ts";

/** The command. */
export function runCommand(_context: CommandContext) {
  return new Command("run")
    .description("Run a script of your own with the permissions of deploy")
    .argument("<script>", "TypeScript or JavaScript file that imports Mixline")
    .argument("[args...]", "what the script gets as Deno.args")
    .passThroughOptions()
    .allowUnknownOption()
    .action(runScript);
}

async function runScript(script: string, args: readonly string[]): Promise<void> {
  requirePermissions("run", [processNeed("it starts the script in a process of its own")]);
  const info = await Deno.stat(script).catch(() => undefined);
  if (!info?.isFile) {
    throw new ConfigError(
      "cli/missing-script",
      `Cannot run script "${script}": expected a file, got ${info ? "a folder" : "none"}`,
      { hint: "Give a file that exists, relative to the current folder" },
    );
  }
  // By its name, as `--allow-run=deno` has it.
  const child = new Deno.Command("deno", {
    args: ["run", ...deployPermissions(), script, ...args],
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  // Its exit code is ours.
  Deno.exitCode = (await child.status).code;
}
