/**
 * Runs every example as its header says, in a process of its own.
 *
 * @module
 */

import assert from "node:assert/strict";
import { webgpuTest } from "./support/adapter.ts";
import { slowTest } from "./support/quick.ts";

const ROOT = new URL("../", import.meta.url);

/** What each example prints. */
const EXAMPLES: Readonly<Record<string, readonly RegExp[]>> = {
  "01_generate.ts": [/^, there was a young sailor named Bramble\. He lived in the village\.$/m],
  "02_backend_per_layer.ts": [
    /^ {2}fuse_moe:\n {4}backend: trtllm\n {4}overrides:$/m,
    /^, there was a young sailor named Bramble\./m,
    /^The backends agree: true$/m,
  ],
  "04_own_transform.ts": [
    /^ {2}scale_logits:\n {4}factor: 4$/m,
    /^YAML says the same: true$/m,
  ],
  "05_own_backend.ts": [
    /^10 layers served, largest difference (0|\d(\.\d+)?e-([6-9]|\d\d))$/m,
    /^, there was a young sailor named Bramble\./m,
  ],
  "06_own_architecture.ts": [
    /"architecture":"teller"/,
    /^, there was a young sailor named Bramble\./m,
  ],
  "07_own_sampler.ts": [
    /^ {2}without_letter:\n {4}letter: e$/m,
    /^YAML says the same: true$/m,
    /^no "e": false\n(.*\n)*no "e": true$/m,
  ],
  "03_fused_moe.ts": [
    /^(webgpu|cpu) triton: largest error (0\.0e\+0|\d\.\de-([6-9]|\d\d)) of/m,
    /^(webgpu|cpu) trtllm: largest error (0\.0e\+0|\d\.\de-([6-9]|\d\d)) of/m,
  ],
};

Deno.test("every example has its expectations, and at most 80 lines", async () => {
  const found: string[] = [];
  for await (const { name } of Deno.readDir(new URL("examples/", ROOT))) {
    if (name.endsWith(".ts")) found.push(name);
  }
  assert.deepEqual(found.sort(), Object.keys(EXAMPLES).sort());
  for (const name of found) {
    const lines = (await Deno.readTextFile(new URL(`examples/${name}`, ROOT))).split("\n").length;
    assert.ok(lines <= 81, `${name} has ${lines - 1} lines`);
  }
});

for (const [name, expectations] of Object.entries(EXAMPLES)) {
  // One needs a device; the others take WebGPU or the CPU.
  const run = name === "05_own_backend.ts" ? webgpuTest : slowTest;
  run(`examples/${name} runs as its header says`, async () => {
    const source = await Deno.readTextFile(new URL(`examples/${name}`, ROOT));
    const command = source.match(/`deno (run [^`]*)`/)?.[1];
    assert.ok(command !== undefined, "the header says how to run it");
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--lock=runtime.lock", ...command.split(" ").slice(1)],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
    }).output();
    const [output, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    assert.equal(code, 0, errors);
    for (const expected of expectations) assert.match(output, expected);
  });
}
