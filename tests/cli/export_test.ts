/**
 * `export`, as a user types it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { CliHost } from "../support/cli.ts";

const ARGS = ["export", "my.yaml", "--target", "trtllm", "--output", "graphs/out"];

Deno.test("export refuses what it cannot write, writes a folder, and replaces one when told to", async () => {
  const cwd = await Deno.makeTempDir();
  try {
    const yaml = "model: org/model\ntransforms: { fuse_moe: { backend: triton } }\n";
    await Deno.writeTextFile(join(cwd, "my.yaml"), yaml);
    await using host = new CliHost(cwd);
    await refuse(host, cwd);
    await write(host, cwd);
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});

/** Command lines that leave nothing. */
async function refuse(host: CliHost, cwd: string): Promise<void> {
  const cases: readonly (readonly [string[], RegExp])[] = [
    [["export", "my.yaml", "-o", "graphs/x"], /--target/],
    [["export", "my.yaml", "-o", "graphs/x", "--target", "vllm"], /trtllm/],
    [["export", "none.yaml", "-o", "graphs/x", "--target", "trtllm"], /none\.yaml/],
    [[...ARGS, "--model", "a.gguf"], /TensorRT-LLM does not read GGUF files/],
    [[...ARGS, "--world-size", "0"], /expected a whole number from 1, got "0"/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await host.run(args);
    assert.notEqual(code, 0);
    assert.match(stderr, message);
  }
  assert.deepEqual([...Deno.readDirSync(cwd)].map(({ name }) => name), ["my.yaml"]);
}

/** Command lines that write, and tell what stays behind. */
async function write(host: CliHost, cwd: string): Promise<void> {
  const { code, stdout, stderr } = await host.run([...ARGS, "--world-size", "2"]);
  assert.equal(code, 0, stderr);
  assert.deepEqual(stdout.trim().split("\n"), [
    "graphs/out/README.md",
    "graphs/out/autodeploy.yaml",
    "graphs/out/serve.sh",
    "graphs/out/kubernetes.yaml",
  ]);
  assert.match(stderr, /^left behind: transforms\.fuse_moe\.backend: its triton backend stops at/m);
  assert.match(await Deno.readTextFile(join(cwd, "graphs/out/autodeploy.yaml")), /world_size: 2/);
  const again = await host.run(ARGS);
  assert.equal(again.code, 2);
  assert.match(again.stderr, /Cannot write folder "graphs\/out": expected none there, got one/);
  const forced = await host.run([...ARGS, "--force", "--json"]);
  assert.equal(forced.code, 0, forced.stderr);
  assert.equal(JSON.parse(forced.stdout).leftBehind[0].path, "transforms.fuse_moe.backend");
  assert.deepEqual([...Deno.readDirSync(join(cwd, "graphs"))].map(({ name }) => name), ["out"]);
}
