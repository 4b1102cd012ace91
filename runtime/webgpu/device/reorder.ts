/**
 * Weights on the device, put into the order that kernels read them in.
 *
 * @module
 */

import { reorderDispatches, type WordOrder } from "../../../kernels/mod.ts";
import type { WebGpuDevice } from "./device.ts";
import type { PipelineCache } from "./pipelines.ts";

/** A whole weight, which nothing but this module writes. */
export interface OrderedWeight {
  readonly buffer: GPUBuffer;
  readonly bytes: number;
  readonly order: WordOrder;
}

/** Submits what puts weights, as a checkpoint has them, into their orders, in place. */
export async function reorderWeights(
  device: WebGpuDevice,
  pipelines: PipelineCache,
  weights: readonly OrderedWeight[],
): Promise<void> {
  if (weights.length === 0) return;
  const encoder = device.gpu.createCommandEncoder();
  const pass = encoder.beginComputePass();
  for (const { buffer, bytes, order } of weights) {
    for (const dispatch of reorderDispatches(bytes, order, device.profile)) {
      const { pipeline, layout } = await pipelines.get(dispatch);
      const [{ range }] = dispatch.bindings;
      const resource = { buffer, offset: range?.offset ?? 0, size: range?.bytes ?? bytes };
      pass.setPipeline(pipeline);
      pass.setBindGroup(
        0,
        device.gpu.createBindGroup({ layout, entries: [{ binding: 0, resource }] }),
      );
      device.created.bindGroups++;
      pass.dispatchWorkgroups(...dispatch.workgroups({ T: 1, R: 1, S: 1, P: 1 }));
    }
  }
  pass.end();
  device.gpu.queue.submit([encoder.finish()]);
}
