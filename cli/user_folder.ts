/**
 * Where relative paths start.
 *
 * @module
 */

import { fileURLToPath } from "node:url";

/**
 * Changes to the user's current folder: `deno task` runs in the folder of `deno.json` and
 * leaves the user's own in `INIT_CWD`.
 */
export function enterUserFolder(): void {
  const userFolder = Deno.env.get("INIT_CWD");
  const folder = new URL("..", import.meta.url);
  // Loaded from the web, the code is in no folder.
  if (folder.protocol !== "file:") return;
  const taskFolder = fileURLToPath(folder).replace(/[\\/]$/, "");
  if (userFolder !== undefined && Deno.cwd() === taskFolder) Deno.chdir(userFolder);
}
