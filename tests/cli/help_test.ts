import assert from "node:assert/strict";
import { runCli } from "../support/cli.ts";
import { assertSnapshot } from "../support/snapshot.ts";

for (const args of [["--help"], ["deploy", "--help"], ["inspect", "--help"]]) {
  Deno.test(`main() prints the help of "${args.join(" ")}"`, async () => {
    const { code, stdout, stderr } = await runCli(args);
    assert.deepEqual([code, stderr], [0, ""]);
    await assertSnapshot(`help/${args.length === 1 ? "mixline" : args[0]}.txt`, stdout);
  });
}
