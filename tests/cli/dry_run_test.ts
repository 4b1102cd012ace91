import assert from "node:assert/strict";
import { runCli, runSharedCli } from "../support/cli.ts";

Deno.test("deploy --dry-run names the layer that set each value", async () => {
  const folder = await Deno.makeTempDir({ prefix: "mixline_" });
  try {
    const [low, high] = [`${folder}/low.yaml`, `${folder}/high.yaml`];
    await Deno.writeTextFile(
      low,
      "max_seq_len: 64\nmax_batch_size: 2\ntransforms:\n  fuse_moe:\n    backend: triton\n",
    );
    await Deno.writeTextFile(high, "max_batch_size: 4\n");
    const { code, stdout, stderr } = await runSharedCli([
      ...["deploy", "--dry-run", "--json", "--config", low, high],
      ...["--set", "transforms.fuse-gemms.enabled=false", "--executor", "cpu"],
    ], { MIXLINE_MAX_NUM_TOKENS: "32" });
    assert.equal(code, 0, stderr);
    const { values } = JSON.parse(stdout);
    const found = (path: string) => values.find((value: { path: string }) => value.path === path);
    const rows: readonly [path: string, value: unknown, setBy: string | RegExp][] = [
      ["max_seq_len", 64, `${low}:1:14`],
      ["max_batch_size", 4, `${high}:1:17`],
      ["max_num_tokens", 32, "environment MIXLINE_MAX_NUM_TOKENS"],
      ["executor", "cpu", /^flag .*executor.cpu$/],
      ["transforms.fuse_moe.backend", "triton", `${low}:5:14`],
      ["transforms.fuse_gemms.enabled", false, "flag --set transforms.fuse-gemms.enabled=false"],
      ["transforms.fuse_moe.stage", "post_load_fusion", /^default, configs\/default\.yaml:\d+$/],
      ["transforms.fuse_moe.skip_on_error", false, "default"],
    ];
    for (const [path, value, setBy] of rows) {
      assert.deepEqual(found(path)?.value, value, path);
      if (typeof setBy === "string") assert.equal(found(path).setBy, setBy, path);
      else assert.match(found(path).setBy, setBy, path);
    }
    assert.ok(values.every((value: { setBy: unknown }) => typeof value.setBy === "string"));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("deploy --dry-run prints YAML that gives the same configuration again", async () => {
  const folder = await Deno.makeTempDir({ prefix: "mixline_" });
  try {
    const first = await runCli([
      "deploy",
      "--dry-run",
      "--set",
      "transforms.fuse_moe.backend=trtllm",
    ]);
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stdout, /^ {4}backend: trtllm +# flag --set/m);
    const file = `${folder}/resolved.yaml`;
    await Deno.writeTextFile(file, first.stdout);
    const second = await runCli(["deploy", "--dry-run", "--config", file]);
    assert.equal(second.code, 0, second.stderr);
    const withoutComments = (text: string) => text.replaceAll(/ +#.*$/gm, "");
    assert.equal(withoutComments(second.stdout), withoutComments(first.stdout));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
