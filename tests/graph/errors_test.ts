import assert from "node:assert/strict";
import { nearest, permissionHint } from "../../graph/mod.ts";
import { cpuTimer } from "../support/cpu_time.ts";

const FLAGS = [
  ...["--model", "--prompt", "--prompt-file", "--token-ids", "--max-new-tokens", "--temperature"],
  ...[
    "--top-k",
    "--stop",
    "--repetition-penalty",
    "--kv-cache-dtype",
    "--webgpu",
    "model.layers.0.self_attn.o_proj.weight",
  ],
];

const CASES: readonly [string, string | undefined][] = [
  ["--modle", "--model"],
  ["--max-tokenz", "--max-new-tokens"],
  ["--max-tokens", "--max-new-tokens"],
  ["--max_new", "--max-new-tokens"],
  ["--temp", "--temperature"],
  ["--top", "--top-k"],
  ["--rep-penalty", "--repetition-penalty"],
  ["--cache-dtype", "--kv-cache-dtype"],
  ["--prompt-fil", "--prompt-file"],
  ["--penalty-repetition", undefined],
  ["--foo", undefined],
  ["attn", undefined],
  ["--", undefined],
  ["", undefined],
];

Deno.test("nearest() finds a word by its parts, their beginnings, and letters that differ", () => {
  assert.deepEqual(CASES.map(([word]) => [word, nearest(word, FLAGS)]), CASES);
});

Deno.test("nearest() refuses long words fast", () => {
  const computed = cpuTimer();
  assert.equal(nearest("max_".repeat(100_000), FLAGS), undefined);
  assert.equal(nearest("m".repeat(400_000), FLAGS), undefined);
  assert.ok(computed() < 1000);
});

Deno.test("permissionHint() names the flag, and another folder where Deno wants all of them", () => {
  const refused = (kind: string) =>
    permissionHint(new Error(`Requires ${kind} access to "/dev/shm/m", run again with ..`));
  assert.match(refused("read") ?? "", /^Add --allow-read=\/dev\/shm\/m to the flags of deno/);
  assert.match(refused("all") ?? "", /^Move the file to another folder/);
  assert.equal(permissionHint(new Error("No such file")), undefined);
});
