/**
 * A MoE backend of one's own, its WGSL beside it, in a folder outside of the project: deployed, served,
 * compared in the bench; and backends that compute wrong.
 *
 * @module
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { cliCommand, runCli } from "./support/cli.ts";
import { noAdapterReason } from "./support/adapter.ts";
import { resultOf } from "./support/process_result.ts";
import { IS_QUICK } from "./support/quick.ts";
import { ROOT } from "./support/root.ts";

const EXAMPLE = new URL("examples/05_own_backend", ROOT);

/** Changes of the example's module and shader. */
interface Changes {
  readonly module?: readonly [string, string];
  readonly shader?: readonly [string, string];
}

const GREEDY = ["--executor", "webgpu", "--temperature", "0", "-n", "4", "--json"];
const PLUGGED = ["--plugin", "mine.ts", "--set", "transforms.fuse_moe.backend=plain_loop"];

/** Needs a GPU, and takes seconds. */
function outsideTest(name: string, changes: Changes, body: (folder: string) => Promise<void>) {
  const leftOut = IS_QUICK ? " [left out: --quick]" : "";
  Deno.test({
    name: `${name}${leftOut || (noAdapterReason ? ` [left out: ${noAdapterReason}]` : "")}`,
    ignore: IS_QUICK || noAdapterReason !== undefined,
    async fn() {
      const folder = await Deno.makeTempDir({ prefix: "mixline backend " });
      try {
        await writeBackend(folder, changes);
        await body(folder);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

async function writeBackend(folder: string, { module, shader }: Changes): Promise<void> {
  const source = await Deno.readTextFile(`${EXAMPLE.pathname}.ts`);
  const wgsl = await Deno.readTextFile(`${EXAMPLE.pathname}.wgsl`);
  const library = new URL("mod.ts", ROOT).href;
  const outside = source.replaceAll('"../mod.ts"', JSON.stringify(library))
    .replace("05_own_backend.wgsl", "mine.wgsl");
  await Deno.writeTextFile(join(folder, "mine.ts"), change(outside, module));
  await Deno.writeTextFile(join(folder, "mine.wgsl"), change(wgsl, shader));
}

function change(text: string, [before, after]: readonly [string, string] = ["", ""]): string {
  assert.ok(text.includes(before), `the example has no ${before}`);
  return text.replace(before, after);
}

outsideTest("a backend in another folder deploys the bundled model", {}, async (cwd) => {
  const { code, stdout, stderr } = await runCli(["deploy", ...PLUGGED, ...GREEDY], { cwd });
  assert.equal(code, 0, stderr);
  const { results, report } = JSON.parse(stdout);
  assert.equal(results[0].text, ", there was a");
  assert.ok(JSON.stringify(report.program.choices).includes("plain_loop: one invocation"));
});

outsideTest("a backend in another folder serves requests", {}, async (cwd) => {
  const served = cliCommand(
    ["serve", ...PLUGGED, "--executor", "webgpu", "--port", "0", "--json"],
    { cwd },
  ).spawn();
  const said = new Response(served.stderr).text();
  const lines = served.stdout.pipeThrough(new TextDecoderStream()).getReader();
  try {
    const { value } = await lines.read();
    assert.ok(value, await Promise.race([said, Promise.resolve("nothing was printed")]));
    const answer = await fetch(`${JSON.parse(value).url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        ...{ model: "storyteller", prompt: "Once upon a time", max_tokens: 4, temperature: 0 },
      }),
    });
    const { choices } = await answer.json();
    assert.equal(choices[0].text, ", there was a");
  } finally {
    served.kill("SIGTERM");
    await lines.cancel();
    assert.equal((await served.status).code, 0, await said);
  }
});

outsideTest("a backend in another folder has rows in the bench", {}, async (cwd) => {
  const name = "plain_loop T=1 bf16 Qwen3-30B-A3B twin";
  const command = new Deno.Command(Deno.execPath(), {
    args: ["task", "bench", "bench/moe_bench.ts", "--filter", name],
    cwd: ROOT,
    env: { NO_COLOR: "1", MIXLINE_PLUGINS: JSON.stringify([join(cwd, "mine.ts")]) },
  });
  const { code, stdout, stderr } = await resultOf(command);
  assert.equal(code, 0, stderr);
  assert.match(stdout, new RegExp(`^\\| ${name} +\\| +\\d`, "m"));
  assert.match(stdout, /^ {2}plain_loop +\d.*; 2 dispatches\)$/m);
});

outsideTest("a backend in another folder is not tuned in silence", {}, async (cwd) => {
  const { code, stderr } = await runCli(["tune", ...PLUGGED, "--out", "graphs"], { cwd });
  assert.equal(code, 2, stderr);
  assert.match(stderr, /got layers of plain_loop: backends of plug-ins read no tuned tables$/m);
});

outsideTest(
  "a backend that computes wrong is refused with the largest difference and the case",
  { shader: ["y[at] = sums.x * sums.y /", "y[at] = sums.x * sums.x /"] },
  async (cwd) => {
    const { code, stdout, stderr } = await runCli(["deploy", ...PLUGGED, ...GREEDY], { cwd });
    assert.equal(code, 4, stderr);
    const { error } = JSON.parse(stdout);
    assert.equal(error.code, "kernel/backend-wrong");
    assert.match(error.message, /^Cannot use MoE backend "plain_loop" on "/);
    assert.match(
      error.message,
      /expected a layer of 1 tokens, hidden 256, .* 4 of \d+ experts, bf16/,
    );
    assert.match(error.message, /got a largest difference of \d.*\(token 0, column \d+: -?\d/);
    const { difference, tolerance } = error.details;
    assert.ok(difference > 10 * tolerance, error.message);
    assert.doesNotMatch(stderr, /^weights/m);
  },
);

outsideTest(
  "a backend that is wrong for many tokens alone is found by --verify, which names the node",
  // The check at first use has steps of up to 8 tokens.
  {
    module: [
      "EXPERTS: experts, TOP_K: topK,",
      "EXPERTS: spec.tokens.max > 8 ? experts - 3 : experts, TOP_K: topK,",
    ],
  },
  async (cwd) => {
    const args = ["deploy", ...PLUGGED, ...GREEDY, "--verify"];
    const { code, stdout, stderr } = await runCli(args, { cwd });
    assert.equal(code, 0, stderr);
    const rows: Record<string, string>[] = JSON.parse(stdout).report.verification
      .filter(({ transform }: { transform: string }) => transform === "compiled program");
    const [many, single, rest] = rows;
    assert.match(many.step, /^1\d tokens in one step$/);
    assert.match(
      many.firstBadNode,
      /^model\.layers\.0\.mlp \(fused_moe\), off by 0\.\d+ of its lar/,
    );
    assert.match(stderr, /first bad node: model\.layers\.0\.mlp \(fused_moe\)/);
    assert.ok(Number(single.maxDifference) < 1e-3, JSON.stringify(single));
    assert.equal(single.firstBadNode, undefined);
    assert.match(rest.skipped, /several sequences/);
  },
);
