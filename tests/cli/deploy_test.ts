import assert from "node:assert/strict";
import { webgpuTest } from "../support/adapter.ts";
import { cliCommand, CliHost, runCli } from "../support/cli.ts";
import { makeModelFolder, STORYTELLER, weightsWith } from "../support/model_folder.ts";
import { slowTest } from "../support/quick.ts";
import { ROOT } from "../support/root.ts";

/** A machine with no GPU and no software one. */
const NO_DRIVER = { VK_DRIVER_FILES: "/nonexistent", VK_ICD_FILENAMES: "/nonexistent" };

/** With the cache of a few sequences: that of 64 takes longer to allocate than the rest of a deployment. */
const FEW = ["--set", "max_batch_size=2"];
const GREEDY = [
  "deploy",
  "--model",
  STORYTELLER,
  "--executor",
  "cpu",
  ...FEW,
  "--temperature",
  "0",
];

Deno.test("deploy streams the prompt and its continuation to stdout, progress to stderr", async () => {
  const { code, stdout, stderr } = await runCli([...GREEDY, "--max-new-tokens", "12"]);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, "Once upon a time, there was a young sailor named Bramble. He lived in\n");
  assert.match(stderr, /^model +storyteller \(qwen3_moe, 14\.9 MB\)$/m);
  assert.match(stderr, /^device +CPU/m);
  assert.match(stderr, /^ +fuse_moe +5 matches +\d+ nodes +[\d.]+ ms +14\.9 MB$/m);
  assert.match(stderr, /^weights +14\.9 MB in /m);
  assert.match(stderr, /^12 tokens after 4, [\d.]+ tokens\/s, first after /m);
});

Deno.test("deploy keeps stderr empty when --quiet is given", async () => {
  const { code, stderr } = await runCli([...GREEDY, "--max-new-tokens", "2", "--quiet"]);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
});

Deno.test("deploy gives one JSON document when --json is given", async () => {
  const { code, stdout, stderr } = await runCli([
    ...GREEDY,
    ...["--json", "--quiet", "--max-new-tokens", "3"],
    ...["--prompt", "Once upon a time", "--prompt", "The end"],
  ]);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  const { results, report } = JSON.parse(stdout);
  assert.equal(results.length, 2);
  assert.deepEqual(results[0].tokens, [14, 407, 288]);
  assert.equal(results[0].text, ", there was");
  assert.equal(results[0].promptTokens, 4);
  assert.equal(results[1].prompt, "The end");
  assert.equal(report.executor.kind, "cpu");
  assert.ok(report.transforms.some((record: { key: string }) => record.key === "fuse_moe"));
});

Deno.test("deploy notes tensors of the checkpoint that the architecture does not know, by name", async () => {
  const names = ["model.layers.0.mlp.extra.weight", "adapter.weight"];
  const root = await Deno.makeTempDir();
  try {
    const model = await makeModelFolder(root, { "model.safetensors": await weightsWith(names) });
    const flags = ["--executor", "cpu", "--temperature", "0", "--max-new-tokens", "1"];
    const { code, stdout, stderr } = await runCli(["deploy", "--model", model, ...flags]);
    assert.deepEqual([code, stdout], [0, "Once upon a time,\n"], stderr);
    const [note = ""] = stderr.match(/^note +2 tensors of the checkpoint are not read.*$/m) ?? [];
    for (const name of names) assert.ok(note.includes(name), stderr);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("deploy takes prompts as messages of a chat when --chat is given", async () => {
  const { code, stdout, stderr } = await runCli([
    ...GREEDY,
    ...["--chat", "--prompt", "What is the capital of France?", "--max-new-tokens", "32"],
  ]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /Paris/);
  assert.ok(!stdout.includes("What is the capital"), "the question is not part of the answer");
});

Deno.test("deploy seed of sampling; the same seed gives the same text when its seed is given", async () => {
  const sampled = GREEDY.toSpliced(-2, 2, "--max-new-tokens", "16", "--quiet");
  const [a, b, c] = await Promise.all(
    ["7", "7", "8"].map((seed) => runCli([...sampled, "--seed", seed])),
  );
  assert.equal(a.code, 0, a.stderr);
  assert.equal(a.stdout, b.stdout);
  assert.notEqual(a.stdout, c.stdout);
});

Deno.test("deploy runs on the CPU and says why when there is no WebGPU adapter, or exits with 5", async () => {
  await using host = new CliHost(ROOT.pathname, { env: NO_DRIVER });
  const onCpu = await host.run(["deploy", "--temperature", "0", "--max-new-tokens", "4"]);
  assert.equal(onCpu.code, 0, onCpu.stderr);
  assert.equal(onCpu.stdout, "Once upon a time, there was a\n");
  const lines = onCpu.stderr.split("\n").filter((line) => line.includes("WebGPU"));
  assert.equal(lines.length, 1, onCpu.stderr);
  assert.match(lines[0], /^device +CPU.*no WebGPU adapter/);
  const { code, stdout, stderr } = await host.run(["deploy", "--executor", "webgpu"]);
  assert.deepEqual({ code, stdout }, { code: 5, stdout: "" }, stderr);
  assert.match(stderr, /^error: .*adapter/m);
  assert.match(stderr, /^hint: /m);
});

Deno.test("deploy exits with 130 when it is interrupted while it generates", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const child = cliCommand([...GREEDY, "--max-new-tokens", "900"]).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  child.kill("SIGINT");
  reader.releaseLock();
  const { code, stderr } = await child.output();
  const text = new TextDecoder().decode(stderr);
  assert.equal(code, 130, text);
  assert.match(text, /^stopped$/m);
  assert.doesNotMatch(text, /error|at .*:\d+:\d+/);
});

Deno.test("deploy measures prefill and decode when --benchmark is given", async () => {
  const { code, stdout, stderr } = await runCli([
    ...GREEDY,
    ...["--benchmark", "--json", "--max-new-tokens", "4", "--set", "max_seq_len=32"],
  ]);
  assert.equal(code, 0, stderr);
  const { benchmark } = JSON.parse(stdout);
  assert.match(benchmark.device, /CPU/);
  for (const [phase, tokens] of [["prefill", 28], ["decode", 3]] as const) {
    const { n, tokens: measured, median, slowest, fastest, spread } = benchmark[phase];
    assert.deepEqual({ n, measured }, { n: 5, measured: tokens }, phase);
    assert.ok(slowest > 0 && slowest <= median && median <= fastest, phase);
    assert.equal(spread, (fastest - slowest) / median);
  }
});

slowTest("deploy compares every transform with the one before when --verify is given", async () => {
  const { code, stderr } = await runCli([
    ...GREEDY,
    ...["--verify", "--max-new-tokens", "1", "--set", "kv_cache_dtype=f32"],
  ]);
  assert.equal(code, 0, stderr);
  const rows = stderr.split("\n").filter((line) => /^ +logits within/.test(line));
  assert.match(
    stderr,
    /^ +fuse_moe .*\n +logits within .* of those after fuse_gemms, the same tokens$/m,
  );
  assert.ok(rows.length >= 10, stderr);
  for (const row of rows) {
    assert.match(row, /within (0\.0e\+0|\d\.\de-([6-9]|\d\d)) of .*, the same tokens$/);
  }
});

webgpuTest("deploy runs on WebGPU when it is asked to", async () => {
  const args = [
    ...["deploy", "--executor", "webgpu", "--temperature", "0"],
    ...["--max-new-tokens", "4", "--json"],
  ];
  const { code, stdout, stderr } = await runCli(args);
  assert.equal(code, 0, stderr);
  const { results, report } = JSON.parse(stdout);
  assert.equal(results[0].text, ", there was a");
  assert.equal(report.executor.kind, "webgpu");
});
