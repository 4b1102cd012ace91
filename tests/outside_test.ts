/**
 * The library as a script in another folder sees it: no import map, no configuration of Deno. Its types are
 * checked in `dsl/plugins_test.ts`.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { resultOf } from "./support/process_result.ts";
import { slowTest } from "./support/quick.ts";
import { STORY_SCRIPT } from "./support/story_script.ts";

/** What README says that a script on the CPU needs. */
const PERMISSIONS = ["--allow-read", "--allow-env"];

slowTest("mod.ts runs in a script of any folder, imported by path alone", async () => {
  const folder = await Deno.makeTempDir({ prefix: "mixline script " });
  try {
    await Deno.writeTextFile(join(folder, "story.ts"), STORY_SCRIPT);
    const command = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", ...PERMISSIONS, "story.ts"],
      cwd: folder,
      env: { NO_COLOR: "1" },
      stdin: "null",
    });
    const { code, stdout, stderr } = await resultOf(command);
    assert.equal(code, 0, stderr);
    assert.match(JSON.parse(stdout), /\w/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
