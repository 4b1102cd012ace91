import assert from "node:assert/strict";
import { moeCases } from "../../bench/bench_device.ts";
import { contestantNames } from "../../bench/moe_contest.ts";
import { formatRate } from "../../bench/statistics.ts";
import { ConfigError } from "../../graph/mod.ts";
import { moeBackendNames } from "../../kernels/mod.ts";
import type { WebGpuDevice } from "../../runtime/mod.ts";
import { GPU_PROFILE } from "../support/gpu_profile.ts";

const GPU = { profile: GPU_PROFILE } as WebGpuDevice;
const SOFTWARE = { profile: { ...GPU_PROFILE, software: true } } as WebGpuDevice;

const titles = (...args: Parameters<typeof moeCases>) =>
  moeCases(...args).map(({ shape, format, tokens }) => `${shape.name} ${format} ${tokens}`);

Deno.test("moeCases() has the sizes of released models on a GPU, their twins on a CPU", () => {
  assert.ok(titles(GPU).includes("Mixtral-8x7B bf16 4096"));
  assert.ok(titles(GPU).includes("OLMoE-1B-7B fp8_e4m3 1"));
  assert.ok(titles(SOFTWARE).every((title) => title.includes("twin")));
  assert.equal(new Set(titles(GPU)).size, titles(GPU).length);
});

Deno.test("moeCases() takes every shape in every format and number of tokens that are asked for", () => {
  const choice = { shapes: ["olmoe", "QWEN"], formats: ["f16", "int4"], tokens: [3, 5] } as const;
  assert.deepEqual(titles(GPU, choice), [
    "OLMoE-1B-7B f16 3",
    "OLMoE-1B-7B f16 5",
    "OLMoE-1B-7B int4 3",
    "OLMoE-1B-7B int4 5",
    "Qwen3-30B-A3B f16 3",
    "Qwen3-30B-A3B f16 5",
    "Qwen3-30B-A3B int4 3",
    "Qwen3-30B-A3B int4 5",
  ]);
  assert.deepEqual(titles(GPU, { shapes: ["oss"], tokens: [7] }), ["gpt-oss-20b bf16 7"]);
});

Deno.test("moeCases() names the shapes there are when one is unknown", () => {
  assert.throws(() => moeCases(GPU, { shapes: ["nope"] }), (error) => {
    assert(error instanceof ConfigError);
    assert.match(error.message, /shape "nope": expected Mixtral-8x7B, .*DeepSeek-V2-Lite/);
    return true;
  });
});

Deno.test("contestantNames() has every backend that runs on a device, the baseline and the CPU", () => {
  const names = contestantNames();
  for (const name of moeBackendNames()) assert.equal(names.includes(name), name !== "reference");
  assert.ok(names.includes("unfused") && names.includes("cpu"));
});

Deno.test("formatRate() takes the unit that fits", () => {
  assert.deepEqual(
    [3.126e12, 4.5e9, 1.2e7].map((rate) => formatRate(rate, "B/s")),
    ["3.13 TB/s", "4.50 GB/s", "12.0 MB/s"],
  );
});
