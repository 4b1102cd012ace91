/** Weights whose words the device puts into another order, from the checkpoint to logits. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Value } from "../../../graph/mod.ts";
import type { Dispatch, WordOrder } from "../../../kernels/kernel.ts";
import { WebGpuDevice } from "../../../runtime/webgpu/device/device.ts";
import { Readback } from "../../../runtime/webgpu/device/readback.ts";
import { WebGpuExecutor } from "../../../runtime/webgpu/executor.ts";
import { boundOrders, type LoweredGraph } from "../../../runtime/webgpu/plan/lower.ts";
import { webgpuTest, withExecutor } from "../../support/adapter.ts";
import { openBareModel } from "../../support/bare_model.ts";
import { deviceLogits } from "../../support/device_logits.ts";
import { packedGraph } from "../../support/quantized_models.ts";
import { relativeError, TOLERANCES } from "../../support/tolerances.ts";

const DEMO = fileURLToPath(new URL("../../../demo/storyteller", import.meta.url));

/** A prompt in one step, and three tokens one by one. */
const PROMPT = Array.from({ length: 14 }, (_, i) => 17 * i % 250 + 3);

webgpuTest("a GPU puts words of experts in order once, and computes as without", async () => {
  await withExecutor({}, async (executor) => {
    const { gpu, profile, provider } = executor.device;
    // Of subgroups of four, whose two words each are a row.
    const asGpu4 = { ...profile, software: false, subgroupSize: 4 };
    const device = new WebGpuDevice(gpu, asGpu4, provider);
    const asGpu = new WebGpuExecutor(device, await Readback.open(device), executor.kernels);
    const model = await openBareModel(DEMO);
    try {
      const { graph } = await packedGraph(model, {
        quantize_moe: { enabled: true, format: "mxfp4" },
      });
      const codes: string[] = [];
      const compile = gpu.createShaderModule.bind(gpu);
      gpu.createShaderModule = (descriptor) => {
        codes.push(descriptor.code);
        return compile(descriptor);
      };
      const got = await deviceLogits(asGpu, graph, model.checkpoint, PROMPT);
      // Codes and scales of w_up; w_down's rows have three words, too few.
      assert.equal(codes.filter((code) => code.includes("fn source_of(")).length, 2);
      const expected = await deviceLogits(executor, graph, model.checkpoint, PROMPT);
      const error = relativeError(got, expected);
      assert.ok(error <= TOLERANCES.logitsF32, `logits are off by ${error}`);
    } finally {
      await model.checkpoint.close();
    }
  });
});

const VALUE = { id: 3, name: "w_up", kind: "weight", dtype: "u8", shape: [2, 4, 64] } as Value;
const ORDER: WordOrder = { unitBytes: 4, units: 16, parts: 4, columns: 4, rows: 1 };

function reading(kernel: string, order?: WordOrder): LoweredGraph {
  const dispatch: Dispatch = {
    ...{ kernel, wgsl: "", workgroups: () => [1, 1, 1] },
    bindings: [{ buffer: VALUE, access: "read", ...(order && { order }) }],
  };
  const resource = {
    kind: "weight",
    key: "weight 3",
    name: "w_up",
    bytes: 512,
    value: VALUE,
  } as const;
  return {
    ...{ tokens: { min: 1, max: 1 }, sizes: { T: 1, R: 1, S: 1, P: 1 } },
    dispatches: [{ dispatch, resources: [resource], scope: "mlp", op: "fused_moe", level: 0 }],
    ...{ sampling: [], outputs: new Map(), notes: [] },
  };
}

Deno.test("boundOrders() gives the order that all readers of a weight share", () => {
  const shared = boundOrders([reading("few", ORDER), reading("many", { ...ORDER })]);
  assert.deepEqual([...shared], [[3, ORDER]]);
  assert.equal(boundOrders([reading("few"), reading("many")]).size, 0);
});

Deno.test("boundOrders() names readers that disagree", () => {
  assert.throws(
    () => boundOrders([reading("few", ORDER), reading("many")]),
    /^KernelError: Cannot load weight "w_up": .*kernels "few" and "many"$/,
  );
});
