/**
 * `inspect weights`, `inspect --diff`, `inspect report` and `deploy --dry-run --changes`, as a user
 * types them.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { f32ToBf16 } from "../../graph/mod.ts";
import { SafetensorsFile } from "../../models/mod.ts";
import { CliHost, runCli } from "../support/cli.ts";
import { STORYTELLER } from "../support/model_folder.ts";
import { slowTest } from "../support/quick.ts";

/** A copy of the bundled model with other numbers at the start of one of its bf16 tensors. */
async function withChangedTensor(
  name: string,
  values: readonly number[],
  work: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for await (const { name: file, isFile } of Deno.readDir(STORYTELLER)) {
      if (isFile) await Deno.copyFile(join(STORYTELLER, file), join(folder, file));
    }
    const path = join(folder, "model.safetensors");
    const opened = await SafetensorsFile.open(path);
    const offset = opened.tensors.get(name)?.byteOffset ?? 0;
    await opened.close();
    using file = await Deno.open(path, { write: true });
    await file.seek(offset, Deno.SeekMode.Start);
    await file.write(new Uint8Array(Uint16Array.from(values, f32ToBf16).buffer));
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("inspect weights has one line for tensors that differ in numbers alone", async () => {
  const { code, stdout, stderr } = await runCli(["inspect", "weights"]);
  assert.equal(code, 0, stderr);
  assert.equal(stdout.trimEnd().split("\n").length, 16);
  assert.match(
    stdout,
    /^model\.layers\.\*\.mlp\.experts\.\*\.up_proj\.weight +bf16 +\[96, 256\] +80 +3\.9 MB/m,
  );
  assert.match(stdout, /^287 tensors, 14\.9 MB$/m);
});

Deno.test("inspect weights --stats counts what later steps stumble over", async () => {
  const name = "model.norm.weight";
  await withChangedTensor(name, [NaN, Infinity, 70000, 1e-9, 0, -3], async (folder) => {
    const args = ["inspect", "weights", "--model", folder, "--stats", "--only", "*norm.weight"];
    const { code, stdout, stderr } = await runCli([...args, "--json"]);
    assert.equal(code, 0, stderr);
    const { groups } = JSON.parse(stdout);
    const { statistics, invalid } = groups.find((group: { pattern: string }) =>
      group.pattern === name
    );
    const { elements, least, nan, infinite, aboveF16, vanishInF16, zeros } = statistics;
    assert.deepEqual({ elements, least, nan, infinite, aboveF16, vanishInF16, zeros }, {
      ...{ elements: 256, least: -3, nan: 1, infinite: 1, aboveF16: 1, vanishInF16: 1, zeros: 1 },
    });
    assert.deepEqual(invalid, [name]);
    const text = (await runCli(args)).stdout;
    assert.match(text, /^NaN or infinite elements in: model\.norm\.weight$/m);
  });
});

Deno.test("inspect weights --stats names matrices that keep f32 operands", async () => {
  const name = "model.layers.1.mlp.experts.2.up_proj.weight";
  await withChangedTensor(name, [70000], async (folder) => {
    const args = ["inspect", "weights", "--model", folder, "--stats", "--only", "*.experts.2.*"];
    const { stdout } = await runCli(args);
    assert.match(
      stdout,
      /^Beyond f16, so that operands of their layers stay f32: model\.layers\.1\.mlp\.experts\.2\.up_proj\.weight$/m,
    );
  });
});

Deno.test("inspect --diff shows the nodes of a transform, layers that are alike once", async () => {
  const args = ["inspect", "--diff", "fuse-moe", "--executor", "cpu"];
  const { code, stdout, stderr } = await runCli(args);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^# model\.layers\.0, and alike in 4 other layers$/m);
  assert.equal(stdout.match(/^- %\d+ = moe\(/gm)?.length, 1);
  assert.equal(stdout.match(/^\+ %\d+ = fused_moe\(/gm)?.length, 1);
  const { layers, transform } = JSON.parse((await runCli([...args, "--json"])).stdout);
  assert.equal(transform, "fuse_moe");
  assert.equal(layers[0].layers.length, 5);
});

Deno.test("deploy --dry-run --changes tells what each transform removes and adds", async () => {
  const args = ["deploy", "--dry-run", "--changes", "--executor", "cpu"];
  const { code, stdout, stderr } = await runCli(args);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^fuse_moe .*\n {2}- 5 moe\n {2}\+ 5 fused_moe$/m);
  const { transforms } = JSON.parse((await runCli([...args, "--json"])).stdout);
  const fuse = transforms.find(({ key }: { key: string }) => key === "fuse_moe");
  assert.deepEqual([fuse.removed, fuse.added], [{ moe: 5 }, { fused_moe: 5 }]);
});

slowTest(
  "inspect report writes a page, or is an error where its file cannot be written",
  async () => {
    const cwd = await Deno.makeTempDir();
    try {
      const args = ["inspect", "report", "--executor", "cpu"];
      await using host = new CliHost(cwd);
      const written = await host.run([...args, "--quiet"]);
      assert.deepEqual(written, { code: 0, stdout: "graphs/storyteller.html\n", stderr: "" });
      const page = join(cwd, "graphs", "storyteller.html");
      assert.match(await Deno.readTextFile(page), /^<!doctype html>/);
      const refused = await host.run([...args, "--out", "graphs/storyteller.html"]);
      assert.equal(refused.code, 1);
      assert.match(
        refused.stderr,
        /Cannot write "graphs\/storyteller\.html": expected a folder .*, got a file/,
      );
      assert.doesNotMatch(refused.stderr, /^model|Free space/m);
      await Deno.remove(page);
      await Deno.mkdir(page);
      const taken = await host.run(args);
      assert.deepEqual([taken.code, taken.stdout], [1, ""]);
      assert.match(taken.stderr, /Cannot write "graphs\/storyteller\.html": there is a folder of/);
      assert.doesNotMatch(taken.stderr, /^weights/m);
    } finally {
      await Deno.remove(cwd, { recursive: true });
    }
  },
);

Deno.test("flags of another subject, and names that match nothing, are refused", async () => {
  const cases: readonly (readonly [string[], RegExp])[] = [
    [["inspect", "model", "--stats"], /flag "--stats": expected subject weights, got model/],
    [["inspect", "--diff", "fuse_mo"], /Did you mean "fuse_moe"\?/],
    [["inspect", "weights", "--only", "attn"], /Put \* before and after/],
    [["deploy", "--changes"], /flag "--changes": expected --dry-run beside it/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await runCli(args);
    assert.equal(code, 2, stderr);
    assert.match(stderr, message);
  }
});
