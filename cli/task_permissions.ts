/**
 * What the project's own tasks are allowed to do.
 *
 * @module
 */

import config from "../deno.json" with { type: "json" };

/** The `--allow-…` flags of a task; `$HOME` in them stands for the home folder. */
export function taskPermissions(task: "deploy" | "serve"): string[] {
  const words = config.tasks[task].command.match(/"[^"]*"|\S+/g) ?? [];
  return words.map((word) => word.replaceAll('"', "")).filter((word) =>
    word.startsWith("--allow-")
  );
}
