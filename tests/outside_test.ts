/**
 * The library as a script in another folder sees it: no import map, no configuration of Deno.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { resultOf } from "./support/process_result.ts";
import { slowTest } from "./support/quick.ts";
import { ROOT } from "./support/root.ts";

/** What README says that a script on the CPU needs. */
const PERMISSIONS = ["--allow-read", "--allow-env"];

const SCRIPT = `
import { pipeline } from ${JSON.stringify(new URL("mod.ts", ROOT).href)};

const model = ${JSON.stringify(decodeURIComponent(new URL("demo/storyteller", ROOT).pathname))};
await using engine = await pipeline()
  .fuseMoe({ backend: "triton" })
  .deploy({ model, executor: "cpu" });
let text = "";
for await (const piece of engine.generate("Once upon a time", { maxNewTokens: 4, temperature: 0 })) {
  text += piece.text;
}
console.log(JSON.stringify(text));
`;

/** Runs deno in `folder`; gives what it printed. */
async function deno(folder: string, ...args: string[]): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), {
    args,
    cwd: folder,
    env: { NO_COLOR: "1" },
    stdin: "null",
  });
  const { code, stdout, stderr } = await resultOf(command);
  assert.equal(code, 0, `deno ${args.join(" ")}: ${stderr}`);
  return stdout;
}

slowTest(
  "mod.ts type-checks and runs in a script of any folder, imported by path alone",
  async () => {
    const folder = await Deno.makeTempDir({ prefix: "mixline script " });
    try {
      await Deno.writeTextFile(join(folder, "story.ts"), SCRIPT);
      await deno(folder, "check", "story.ts");
      const printed = await deno(folder, "run", "--no-prompt", ...PERMISSIONS, "story.ts");
      assert.match(JSON.parse(printed), /\w/);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
