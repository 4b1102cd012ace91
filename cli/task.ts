/**
 * The command line of tasks that serve nothing. Nothing here imports the server, not even when it is asked
 * for: Deno downloads whatever a program could import. `deploy --serve` starts the task `serve`.
 *
 * @module
 */

import { runProgram } from "./program.ts";
import { serveByTask } from "./serve_task.ts";

if (import.meta.main) Deno.exit(await runProgram(Deno.args, serveByTask));
