/**
 * A list of dispatches with compiled pipelines and bind groups, so that encoding a step creates only
 * its command buffer.
 *
 * @module
 */

import { invariant, KernelError } from "../../../graph/mod.ts";
import type { Dispatch, StepSizes } from "../../../kernels/mod.ts";
import type { WebGpuDevice } from "./device.ts";
import { captureErrors } from "./error_scopes.ts";
import type { Resource } from "../plan/lower.ts";
import type { PipelineCache } from "./pipelines.ts";

/** Finds the buffer of a resource. */
export type BufferLookup = (resource: Resource) => GPUBuffer;

/** One dispatch, ready. */
export interface Command {
  readonly kernel: string;
  /** Module path of the node it belongs to. */
  readonly scope: string;
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly workgroups: Dispatch["workgroups"];
  /** Bytes of weights that it reads, each counted once. */
  readonly weightBytes: (sizes: StepSizes) => number;
}

/** What is needed to make a command. */
export interface CommandSource {
  readonly dispatch: Dispatch;
  readonly resources: readonly Resource[];
  readonly scope: string;
}

/** Compiles the pipelines of a list and binds its buffers. */
export async function prepareCommands(
  sources: readonly CommandSource[],
  device: WebGpuDevice,
  pipelines: PipelineCache,
  lookup: BufferLookup,
): Promise<Command[]> {
  const commands: Command[] = [];
  pipelines.prefetch(sources.map(({ dispatch }) => dispatch));
  for (const { dispatch, resources, scope } of sources) {
    const { pipeline, layout } = await pipelines.get(dispatch);
    const entries = resources.map((resource, binding) => ({
      binding,
      resource: bufferBinding(dispatch, binding, resource, lookup(resource), device),
    }));
    const { result: group, error } = await captureErrors(
      device.gpu,
      ["validation"],
      () => device.gpu.createBindGroup({ layout, entries }),
    );
    if (error) {
      throw new KernelError(
        "kernel/bind",
        `Cannot bind buffers of kernel "${dispatch.kernel}" for "${scope}": ${
          error.message.split("\n").at(-1)?.trim()
        }`,
        { details: { kernel: dispatch.kernel, message: error.message } },
      );
    }
    device.created.bindGroups++;
    commands.push({
      kernel: dispatch.kernel,
      scope,
      pipeline,
      group,
      workgroups: (sizes) => dispatch.workgroups(sizes),
      weightBytes: (sizes) => dispatch.weightBytes?.(sizes) ?? 0,
    });
  }
  return commands;
}

/** Records the commands in one pass. */
export function encodeCommands(
  encoder: GPUCommandEncoder,
  commands: readonly Command[],
  sizes: StepSizes,
): void {
  const pass = encoder.beginComputePass();
  encodeInto(pass, commands, sizes);
  pass.end();
}

/** Records the commands into a pass; those without workgroups are left out. */
export function encodeInto(
  pass: GPUComputePassEncoder,
  commands: readonly Command[],
  sizes: StepSizes,
): void {
  let current: GPUComputePipeline | undefined;
  for (const { pipeline, group, workgroups } of commands) {
    const [x, y, z] = workgroups(sizes);
    if (x * y * z === 0) continue;
    if (pipeline !== current) pass.setPipeline(pipeline);
    current = pipeline;
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(x, y, z);
  }
}

function bufferBinding(
  dispatch: Dispatch,
  index: number,
  resource: Resource,
  buffer: GPUBuffer,
  device: WebGpuDevice,
): GPUBufferBinding {
  const { range } = dispatch.bindings[index];
  if (!range) {
    // Kernels see the size of the value, rounded up to whole vectors, not the size of the pooled buffer.
    const bytes = resource.bytes === 0 ? buffer.size : Math.ceil(resource.bytes / 16) * 16;
    return { buffer, offset: 0, size: Math.min(buffer.size, Math.max(16, bytes)) };
  }
  invariant(
    range.offset % device.offsetAlignment === 0 && range.bytes % 4 === 0,
    `kernel ${dispatch.kernel} binds ${resource.name} at ${range.offset} (+${range.bytes}), alignment ${device.offsetAlignment}`,
  );
  return { buffer, offset: range.offset, size: range.bytes };
}
