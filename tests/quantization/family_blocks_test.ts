/**
 * Packed experts of the families: blocks with experts alone, of every format, with what tells families
 * apart, on WebGPU against the same graph on the CPU, from transformers' inputs.
 */

import assert from "node:assert/strict";
import type { PackedFormat } from "../../graph/mod.ts";
import type { Model } from "../../models/mod.ts";
import { type Executor, openCpuExecutor } from "../../runtime/mod.ts";
import { webgpuTest } from "../support/adapter.ts";
import { blocksOf, runBlocks } from "../support/check_golden.ts";
import { withGoldenModel } from "../support/golden_folders.ts";
import { fusedGraph } from "../support/golden_steps.ts";
import { GoldenValues } from "../support/golden_values.ts";
import { withPackedExperts } from "../support/packed_experts.ts";
import { fusedLayers, withBackend } from "../support/quantized_models.ts";
import { withSharedExecutor } from "../support/shared_executor.ts";
import { relativeError, TOLERANCES } from "../support/tolerances.ts";
import { PACKED_BLOCKS, type PackedBlock } from "../support/verified_models.ts";

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

async function check(
  executor: Executor,
  target: Parameters<typeof fusedGraph>[1],
  given: PackedBlock,
) {
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
  await withSharedExecutor(async (executor) => {
    const target = { executor: "webgpu", profile: executor.device.profile } as const;
    for (const given of PACKED_BLOCKS) {
      const [name, what, format, backend, tokens] = given;
      await t.step(
        `${name} (${what}) in ${format} with ${backend}, ${tokens} tokens`,
        () => check(executor, target, given),
      );
    }
  });
});
