/** A model that pruning left with 103 experts, a prime number, of which eight are chosen: transformers' logits. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { webgpuTest } from "../../support/adapter.ts";
import { openBareModel } from "../../support/bare_model.ts";
import { deviceLogits } from "../../support/device_logits.ts";
import { logitsOf } from "../../support/language_model.ts";
import { fusedLayers, packedGraph, withBackend } from "../../support/quantized_models.ts";
import { withSharedExecutor } from "../../support/shared_executor.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

const FOLDER = new URL("../../golden/odd_configs/qwen3_moe_103_experts/", import.meta.url);

interface Golden {
  readonly input_ids: readonly number[];
  readonly first_logits: readonly number[];
  readonly last_logits: readonly number[];
  /** The likeliest token after each. */
  readonly argmax: readonly number[];
}

const golden: Golden = JSON.parse(await Deno.readTextFile(new URL("golden.json", FOLDER)));

function compare(logits: ArrayLike<number>): void {
  const all = Array.from(logits);
  const size = golden.first_logits.length;
  const rows = golden.input_ids.map((_, i) => all.slice(i * size, (i + 1) * size));
  assert.equal(all.length, rows.length * size);
  for (
    const [row, expected] of [[0, golden.first_logits], [
      rows.length - 1,
      golden.last_logits,
    ]] as const
  ) {
    const error = relativeError(rows[row], expected);
    assert.ok(error <= TOLERANCES.logitsF32, `logits of token ${row} are off by ${error}`);
  }
  assert.deepEqual(rows.map((row) => row.indexOf(Math.max(...row))), golden.argmax);
}

Deno.test("103 experts give transformers' logits on the CPU", async () => {
  const model = await openBareModel(fileURLToPath(FOLDER));
  const { graph } = await packedGraph(model);
  assert.deepEqual(model.build().unusedTensors, []);
  compare(await logitsOf(graph, model.checkpoint, golden.input_ids));
  await model.checkpoint.close();
});

webgpuTest("103 experts give them with triton and trtllm", async () => {
  await withSharedExecutor(async (executor) => {
    const model = await openBareModel(fileURLToPath(FOLDER));
    for (const backend of ["triton", "trtllm"]) {
      const { graph } = await packedGraph(model, withBackend(backend));
      assert.ok(fusedLayers(graph).every(({ attrs }) => attrs.backend === backend));
      compare(await deviceLogits(executor, graph, model.checkpoint, golden.input_ids));
    }
    await model.checkpoint.close();
  });
});
