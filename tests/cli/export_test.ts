/**
 * `export`, as a user types it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { runCli } from "../support/cli.ts";

async function inFolder(work: (cwd: string) => Promise<void>): Promise<void> {
  const cwd = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      join(cwd, "my.yaml"),
      "model: org/model\ntransforms: { fuse_moe: { backend: triton } }\n",
    );
    await work(cwd);
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
}

const ARGS = ["export", "my.yaml", "--target", "trtllm", "--output", "graphs/out"];

Deno.test("export writes a folder, tells what stays behind, and replaces one when told to", async () => {
  await inFolder(async (cwd) => {
    const { code, stdout, stderr } = await runCli([...ARGS, "--world-size", "2"], { cwd });
    assert.equal(code, 0, stderr);
    assert.deepEqual(stdout.trim().split("\n"), [
      "graphs/out/README.md",
      "graphs/out/autodeploy.yaml",
      "graphs/out/serve.sh",
      "graphs/out/kubernetes.yaml",
    ]);
    assert.match(
      stderr,
      /^left behind: transforms\.fuse_moe\.backend: its triton backend stops at/m,
    );
    assert.match(await Deno.readTextFile(join(cwd, "graphs/out/autodeploy.yaml")), /world_size: 2/);
    const again = await runCli(ARGS, { cwd });
    assert.equal(again.code, 2);
    assert.match(again.stderr, /Cannot write folder "graphs\/out": expected none there, got one/);
    const forced = await runCli([...ARGS, "--force", "--json"], { cwd });
    assert.equal(forced.code, 0, forced.stderr);
    assert.equal(JSON.parse(forced.stdout).leftBehind[0].path, "transforms.fuse_moe.backend");
    assert.deepEqual([...Deno.readDirSync(join(cwd, "graphs"))].map(({ name }) => name), ["out"]);
  });
});

Deno.test("export refuses what it cannot write, and leaves nothing", async () => {
  await inFolder(async (cwd) => {
    const cases: readonly (readonly [string[], RegExp])[] = [
      [["export", "my.yaml", "-o", "graphs/x"], /--target/],
      [["export", "my.yaml", "-o", "graphs/x", "--target", "vllm"], /trtllm/],
      [["export", "none.yaml", "-o", "graphs/x", "--target", "trtllm"], /none\.yaml/],
      [[...ARGS, "--model", "a.gguf"], /TensorRT-LLM does not read GGUF files/],
      [[...ARGS, "--world-size", "0"], /expected a whole number from 1, got "0"/],
    ];
    for (const [args, message] of cases) {
      const { code, stderr } = await runCli(args, { cwd });
      assert.notEqual(code, 0);
      assert.match(stderr, message);
    }
    await assert.rejects(Deno.stat(join(cwd, "graphs/x")));
    await assert.rejects(Deno.stat(join(cwd, "graphs/out")));
  });
});
