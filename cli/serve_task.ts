/**
 * `serve` where a server's libraries are not there: in a process with the lock and the permissions of the task
 * `serve`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import type { CommandContext } from "./command.ts";
import { processNeed, requirePermissions } from "./permissions.ts";
import { withCommand } from "./program.ts";
import { serveFlags } from "./serve_flags.ts";
import { taskPermissions } from "./task_permissions.ts";

/** The command; its flags are checked here and read there. */
export function serveByTask(_context: CommandContext) {
  return serveFlags().action(async () => {
    requirePermissions("serve", [processNeed("it starts the server in a process of its own")]);
    const fileOf = (path: string) => fileURLToPath(new URL(path, import.meta.url));
    const child = new Deno.Command("deno", {
      args: [
        ...["run", `--lock=${fileOf("../runtime.lock")}`, ...taskPermissions("serve")],
        ...[fileOf("main.ts"), ...withCommand(Deno.args)],
      ],
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
    // A terminal tells both processes of Ctrl-C, others only this one; the server ends once, however often it is told.
    const end = () => child.kill("SIGTERM");
    Deno.addSignalListener("SIGINT", end);
    Deno.addSignalListener("SIGTERM", end);
    Deno.exitCode = (await child.status).code;
    Deno.removeSignalListener("SIGINT", end);
    Deno.removeSignalListener("SIGTERM", end);
  });
}
