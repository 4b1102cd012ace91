/**
 * What a program that deploys needs: the flags of the task `deploy`, for processes started here.
 *
 * @module
 */

import config from "../deno.json" with { type: "json" };

/** Version of the package. */
export const VERSION: string = config.version;

/** The `--allow-…` flags of the task, `$HOME` filled in; without a home folder it stays out. */
export function deployPermissions(): string[] {
  const home = Deno.env.get("HOME");
  const words = config.tasks.deploy.command.match(/"[^"]*"|\S+/g) ?? [];
  return words.map((word) => word.replaceAll('"', ""))
    .filter((word) => word.startsWith("--allow-"))
    .map((word) =>
      home === undefined
        ? word.replace(/\$HOME\/[^,]*,/, "")
        : word.replace("$HOME", home.replaceAll(",", ",,"))
    );
}
