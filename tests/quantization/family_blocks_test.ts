/**
 * Packed experts of the families: blocks with experts alone, of every format, with what tells families
 * apart, on WebGPU against the same graph on the CPU, from transformers' inputs.
 */

import assert from "node:assert/strict";
import type { PackedFormat } from "../../graph/mod.ts";
import type { Model } from "../../models/mod.ts";
import { type Executor, openCpuExecutor } from "../../runtime/mod.ts";
import { webgpuTest, withExecutor } from "../support/adapter.ts";
import { blocksOf, runBlocks } from "../support/check_golden.ts";
import { withGoldenModel } from "../support/golden_folders.ts";
import { fusedGraph } from "../support/golden_steps.ts";
import { GoldenValues } from "../support/golden_values.ts";
import { withPackedExperts } from "../support/packed_experts.ts";
import { fusedLayers, withBackend } from "../support/quantized_models.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";

/** A model, what of its blocks matters, the format of its experts, the backend, tokens of a step. */
type Case = readonly [
  name: string,
  what: string,
  format: PackedFormat,
  backend: "triton" | "trtllm",
  tokens: number,
];

const CASES: readonly Case[] = [
  ["deepseek_v3", "groups, shared slots", "fp8_block", "triton", 39],
  ["deepseek_v3", "groups, shared slots", "fp8_block", "trtllm", 1],
  ["deepseek_v2_grouped", "two shared slots", "int4", "trtllm", 39],
  ["ernie4_5_moe", "two shared slots", "nvfp4", "triton", 1],
  ["glm4_moe", "a shared slot", "nvfp4", "trtllm", 39],
  ["llama4_text", "weights in front of the experts", "fp8_e4m3", "triton", 1],
  ["llama4_text", "weights in front of the experts", "int8", "trtllm", 39],
  ["gemma4", "GELU, rows that no block divides, norms around", "int8", "triton", 39],
  ["gemma4", "GELU, rows that no block divides, norms around", "mxfp4", "trtllm", 1],
  ["gpt_oss", "biases, clamped SwiGLU", "int4", "triton", 1],
  ["qwen2_moe", "a gated MLP beside the experts", "mxfp4", "triton", 39],
  ["phimoe", "the sparse mixer", "fp8_e4m3", "trtllm", 39],
];

/** Opens a model with experts of a format, from the file or packed while they load. */
function withFormat(
  name: string,
  format: PackedFormat,
  use: (model: Model, changes: Record<string, Record<string, unknown>>) => Promise<void>,
): Promise<void> {
  if (format === "fp8_block" || format === "nvfp4") {
    return withPackedExperts(name, format, (model) => use(model, {}));
  }
  const changes = { quantize_moe: { enabled: true, format } };
  return withGoldenModel(name, "hub", (model) => use(model, changes));
}

async function check(executor: Executor, target: Parameters<typeof fusedGraph>[1], given: Case) {
  const [name, , format, backend, tokens] = given;
  const golden = await GoldenValues.of(name);
  await withFormat(name, format, async (model, changes) => {
    const graph = await fusedGraph(blocksOf(model), target, withBackend(backend, changes));
    const layers = fusedLayers(graph);
    assert.equal(layers.length, golden.outputs.length);
    assert.ok(layers.every(({ attrs }) => attrs.format === format && attrs.backend === backend));
    const cpu = openCpuExecutor();
    const expected = await runBlocks(cpu, graph, model, golden, tokens);
    cpu.dispose();
    const got = await runBlocks(executor, graph, model, golden, tokens);
    for (const [layer, values] of expected) {
      const error = relativeError(got.get(layer) ?? [], values);
      assert.ok(error <= TOLERANCES.moeF32, `layer ${layer} is off by ${error}`);
    }
  });
}

webgpuTest("packed experts of the families give on WebGPU what they give on the CPU", async (t) => {
  await withExecutor({ selfTest: false }, async (executor) => {
    const target = { executor: "webgpu", profile: executor.device.profile } as const;
    for (const given of CASES) {
      const [name, what, format, backend, tokens] = given;
      await t.step(
        `${name} (${what}) in ${format} with ${backend}, ${tokens} tokens`,
        () => check(executor, target, given),
      );
    }
  });
});
