/**
 * A step's commands as command buffers: one, or several where the provider of WebGPU translates commands
 * for the driver while they are submitted (1 to 2 µs a dispatch). The device would idle meanwhile; so the
 * first submit is small, and each gives the device enough to do until the next is translated.
 *
 * @module
 */

import type { StepSizes } from "../../../kernels/mod.ts";
import { type Command, encodeInto } from "./command_list.ts";
import type { WebGpuDevice } from "./device.ts";

/** Dispatches of the first command buffers; the last one has the rest. */
const FIRST_PARTS = [8, 32, 128];

/** What is recorded around the dispatches. */
export interface Around {
  readonly before: (encoder: GPUCommandEncoder) => void;
  readonly after: (encoder: GPUCommandEncoder) => void;
}

/** Records commands, in the order in which their buffers are to be submitted. */
export function recordParts(
  { gpu, provider }: WebGpuDevice,
  commands: readonly Command[],
  sizes: StepSizes,
  { before, after }: Around,
): GPUCommandBuffer[] {
  const ends = provider.translatesOnSubmit ? cutEnds(commands.length) : [commands.length];
  return ends.map((end, i) => {
    const encoder = gpu.createCommandEncoder();
    if (i === 0) before(encoder);
    const pass = encoder.beginComputePass();
    encodeInto(pass, commands.slice(ends[i - 1] ?? 0, end), sizes);
    pass.end();
    if (i === ends.length - 1) after(encoder);
    return encoder.finish();
  });
}

/** Submits each by itself. */
export function submitParts({ gpu }: WebGpuDevice, parts: readonly GPUCommandBuffer[]): void {
  for (const part of parts) gpu.queue.submit([part]);
}

function cutEnds(count: number): number[] {
  let sum = 0;
  const ends = FIRST_PARTS.map((size) => sum += size).filter((end) => end < count);
  return [...ends, count];
}
