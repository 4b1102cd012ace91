import assert from "node:assert/strict";
import { runCli } from "../support/cli.ts";

Deno.test("inspect shows what the model's files say", async () => {
  const { code, stdout, stderr } = await runCli(["inspect"]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^architecture +Qwen3MoeForCausalLM/m);
  assert.match(stdout, /^weights +14\.9 MB, 287 tensors in 1 file$/m);
  assert.match(stdout, /^ {2}num_experts +16$/m);
});

Deno.test("inspect model of a GGUF file tells its tensors from what is kept in memory", async () => {
  const path = "tests/golden/gguf/qwen3_moe_q4_k_m.gguf";
  const { code, stdout, stderr } = await runCli(["inspect", "model", "--model", path]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, new RegExp(`^path +${path}$`, "m"));
  assert.match(stdout, /^weights +2\.6 MB as kept in memory, 79 tensors made of 27 in 1 file$/m);
  assert.match(stdout, /^quantization +gguf: .*int8_affine in groups of 16/m);
});

Deno.test("inspect model counts weights by kind, and says what is quantized and how", async () => {
  const bundled = await runCli(["inspect", "model"]);
  assert.equal(bundled.code, 0, bundled.stderr);
  assert.match(bundled.stdout, /^parameters +7\.4 M, 3\.0 M active$/m);
  assert.match(bundled.stdout, /^ {2}experts +5\.9 M, 11\.8 MB, bf16$/m);
  assert.match(bundled.stdout, /^quantization +none$/m);
  const folder = "tests/golden/quantized/qwen3_moe_fp8_block32";
  const { code, stdout, stderr } = await runCli(["inspect", "model", "--model", folder, "--json"]);
  assert.equal(code, 0, stderr);
  const { weights, quantization, bytes } = JSON.parse(stdout);
  const kinds: { kind: string; bytes: number; formats: object }[] = weights.kinds;
  const experts = kinds.find(({ kind }) => kind === "experts");
  assert.deepEqual(Object.keys(experts?.formats ?? {}), ["fp8_block"]);
  assert.equal(kinds.reduce((sum, kind) => sum + kind.bytes, 0), bytes, "every byte has a kind");
  assert.deepEqual([quantization.dialect, quantization.formats], ["fp8", ["fp8_block 32 × 32"]]);
});

Deno.test("inspect model tells which transforms match and what a context takes, latents too", async () => {
  const folder = "tests/golden/deepseek_v3";
  const { code, stdout, stderr } = await runCli(["inspect", "model", "--model", folder]);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^transforms that match .*fuse_shared_experts 2,.*insert_cached_mla/m);
  // A latent of 32 and a turning key of 32 numbers in f16, in 3 layers.
  assert.match(stdout, /^KV cache +384 B a token \(3 layers in f16\), 197 kB for 512 tokens/m);
});

Deno.test("inspect model counts layers, experts and what a token is multiplied with", async () => {
  const rows = async (name: string, keys: readonly string[]) => {
    const args = ["inspect", "model", "--model", `tests/golden/${name}`];
    const { code, stdout, stderr } = await runCli(args);
    assert.equal(code, 0, stderr);
    return keys.map((key) => new RegExp(`^${key} +(.*)$`, "m").exec(stdout)?.[1]);
  };
  // All its experts are in one stack.
  assert.deepEqual(await rows("llama4_text", ["parameters", "layers", "experts", "context"]), [
    "440 k, 182 k active",
    "3, 3 with experts",
    "8 a layer, 1 a token",
    "512 tokens",
  ]);
  // Its attention lies in a module with a norm's name.
  assert.deepEqual(await rows("dbrx", [" {2}attention", " {2}norms"]), [
    "24.6 k, 49.2 kB, bf16",
    "320, 640 B, bf16",
  ]);
  assert.deepEqual(await rows("llama", ["layers", "experts"]), ["2", "none: a dense model"]);
});

Deno.test("inspect tensors lists the checkpoint", async () => {
  const { code, stdout, stderr } = await runCli(["inspect", "tensors"]);
  assert.equal(code, 0, stderr);
  assert.equal(stdout.trimEnd().split("\n").length, 287);
  assert.match(stdout, /^model\.layers\.0\.mlp\.gate\.weight +bf16 +\[16, 256\] +8\.2 kB$/m);
});

Deno.test("inspect graph shows the graph as a transform leaves it", async () => {
  const fused = await runCli(["inspect", "graph", "--executor", "cpu"]);
  assert.equal(fused.code, 0, fused.stderr);
  assert.equal(fused.stdout.match(/= fused_moe\(/g)?.length, 5);
  assert.equal(fused.stdout.match(/= moe\(/g), null);
  const args = ["inspect", "graph", "--executor", "cpu", "--at", "match-moe-pattern", "--json"];
  const document = JSON.parse((await runCli(args)).stdout);
  assert.equal(document.at, "match_moe_pattern");
  assert.equal(document.graph.match(/= moe\(/g)?.length, 5);
});

Deno.test("inspect graph suggests a transform when --at names none", async () => {
  const { code, stderr } = await runCli(["inspect", "graph", "--at", "fuse_meo"]);
  assert.equal(code, 2);
  assert.match(stderr, /^hint: Did you mean "fuse_moe"\?$/m);
});

Deno.test("inspect transforms gives the history", async () => {
  const { code, stdout, stderr } = await runCli(
    ["inspect", "transforms", "--executor", "cpu", "--json"],
  );
  assert.equal(code, 0, stderr);
  const history: { key: string; num_matches: number }[] = JSON.parse(stdout);
  assert.equal(history.find(({ key }) => key === "fuse_moe")?.num_matches, 5);
});

Deno.test("inspect costs counts arithmetic and the weights that a step reads", async () => {
  const costsOf = async (tokens: number) => {
    const args = ["inspect", "costs", "--executor", "cpu", "--tokens", String(tokens), "--json"];
    const { code, stdout, stderr } = await runCli(args);
    assert.equal(code, 0, stderr);
    const document: { ops: { op: string; flops: number; weightBytes: number }[] } = JSON.parse(
      stdout,
    );
    const experts = document.ops.find(({ op }) => op === "fused_moe");
    assert.ok(experts);
    return experts;
  };
  const [one, many] = [await costsOf(1), await costsOf(1000)];
  // 5 layers of 16 experts [256 x 96], three matrices of bf16 each.
  const expert = 3 * 256 * 96;
  assert.equal(many.weightBytes, 5 * 16 * expert * 2);
  assert.equal(many.flops, 1000 * one.flops);
  const chosen = one.flops / (5 * 2 * expert);
  assert.ok(Number.isInteger(chosen) && chosen < 16);
  assert.equal(one.weightBytes, 5 * chosen * expert * 2);
});
