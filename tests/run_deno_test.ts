import assert from "node:assert/strict";
import { runDeno } from "./run_deno.ts";
import { slowTest } from "./support/quick.ts";

slowTest("runDeno() ends a process that hangs, and tells what it did last", async () => {
  const hang = `console.log("a test that never ends ...");
    setInterval(() => console.log("'a test' has been running for over (1s)"), 500);`;
  let shown = "";
  const { code, output } = await runDeno(["eval", hang], {}, (text) => shown += text, 4000);
  assert.notEqual(code, 0);
  assert.match(output, /ERRORS\nEnded after 4 s without output, in: a test that never ends \.\.\./);
  assert.equal(shown, output);
});

slowTest(
  "runDeno() lets a process end that prints now and then, however long it takes",
  async () => {
    const slow =
      "for (let i = 0; i < 12; i++) { console.log(i); await new Promise((f) => setTimeout(f, 500)); }";
    const { code, output } = await runDeno(["eval", slow], {}, () => {}, 4000);
    assert.deepEqual([code, output.trim().split("\n").length], [0, 12]);
  },
);
