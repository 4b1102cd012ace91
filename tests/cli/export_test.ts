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
  const { leftBehind, files } = JSON.parse(forced.stdout);
  assert.equal(leftBehind[0].path, "transforms.fuse_moe.backend");
  assert.deepEqual(files.toSorted(), [...filesIn(join(cwd, "graphs/out"))].toSorted());
  assert.deepEqual(filesIn(join(cwd, "graphs")), ["out"]);
  // What somebody put there is not removed, nor is a folder that is no export.
  await Deno.writeTextFile(join(cwd, "graphs/out/id_ed25519"), "");
  await Deno.mkdir(join(cwd, "graphs/mine/README.md"), { recursive: true });
  await Deno.writeTextFile(join(cwd, "graphs/text"), "");
  const folders = [["out", '"id_ed25519"'], ["mine", '"README.md"'], ["text", "something else"]];
  for (const [folder, got] of folders) {
    const refused = await host.run([...ARGS, "--force", "--output", `graphs/${folder}`]);
    assert.equal(refused.code, 2, refused.stderr);
    assert.match(refused.stderr, new RegExp(`files of an export alone, got ${got}`));
  }
  assert.equal(filesIn(join(cwd, "graphs/out")).length, 5);
  assert.deepEqual(filesIn(join(cwd, "graphs")).toSorted(), ["mine", "out", "text"]);
}

function filesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name);
}
