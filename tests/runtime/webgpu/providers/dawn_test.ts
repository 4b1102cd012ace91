import assert from "node:assert/strict";
import { runCli } from "../../../support/cli.ts";
import { ROOT } from "../../../support/root.ts";
import { slowTest } from "../../../support/quick.ts";

slowTest("Dawn on its null backend: opening, pipelines, reads, errors", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["test", "--quiet", "--no-check", "--lock=dawn.lock", "--frozen", "--allow-all"],
      new URL("dawn_null.ts", import.meta.url).pathname,
    ],
    cwd: ROOT.pathname,
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder().decode(stdout);
  assert.equal(code, 0, text + new TextDecoder().decode(stderr));
  assert.match(text, /ok \| 9 passed \| 0 failed/);
});

Deno.test("Dawn is in its own lock alone, as Deno downloads whatever a lock names", async () => {
  for (
    const [lock, expected] of [["deno.lock", false], ["runtime.lock", false], [
      "dawn.lock",
      true,
    ]] as const
  ) {
    const text = await Deno.readTextFile(new URL(lock, ROOT));
    assert.equal(text.includes('"npm:webgpu@'), expected, lock);
  }
});

Deno.test("--webgpu dawn without --allow-ffi names the permission, with --executor auto too", async () => {
  for (const executor of ["auto", "webgpu"]) {
    const { code, stderr } = await runCli(
      ["deploy", "--webgpu", "dawn", "--executor", executor, "--prompt", "x"],
    );
    assert.equal(code, 5, stderr);
    assert.match(stderr, /Cannot load Dawn: expected the permission --allow-ffi/);
    assert.match(stderr, /deno task deploy:dawn/);
  }
});
