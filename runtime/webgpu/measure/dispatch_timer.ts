/**
 * GPU time of every dispatch of a list. Each gets a pass of its own between two timestamps, so the
 * sum is a little more than what the list takes in one pass.
 *
 * @module
 */

import type { StepSizes } from "../../../kernels/mod.ts";
import type { DispatchTiming } from "../../executor.ts";
import { type Command, encodeInto } from "../device/command_list.ts";
import { hasWork } from "../plan/lower.ts";
import type { WebGpuDevice } from "../device/device.ts";
import type { Readback } from "../device/readback.ts";

/** Timestamps of one query set; WebGPU allows at most this many. */
const MOST_QUERIES = 4096;

interface Section {
  readonly queries: GPUQuerySet;
  readonly commands: readonly Command[];
}

/** Runs the commands once and gives the time of each that has work in a step of these sizes. */
export async function timeCommands(
  device: WebGpuDevice,
  readback: Readback,
  all: readonly Command[],
  sizes: StepSizes,
): Promise<DispatchTiming[]> {
  const commands = all.filter((command) => hasWork(command, sizes));
  const bytes = commands.length * 16;
  const { QUERY_RESOLVE, COPY_SRC } = GPUBufferUsage;
  const sections = makeSections(device, commands);
  const buffers: GPUBuffer[] = [];
  try {
    const resolved = await device.allocate("timestamps", bytes, QUERY_RESOLVE | COPY_SRC);
    buffers.push(resolved);
    const staging = await readback.staging(bytes);
    buffers.push(staging);
    const encoder = device.gpu.createCommandEncoder();
    let at = 0;
    for (const { queries, commands } of sections) {
      for (const [i, command] of commands.entries()) {
        const pass = encoder.beginComputePass({
          timestampWrites: {
            querySet: queries,
            beginningOfPassWriteIndex: 2 * i,
            endOfPassWriteIndex: 2 * i + 1,
          },
        });
        encodeInto(pass, [command], sizes);
        pass.end();
      }
      encoder.resolveQuerySet(queries, 0, 2 * commands.length, resolved, at);
      at += 16 * commands.length;
    }
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, bytes);
    device.gpu.queue.submit([encoder.finish()]);
    const stamps = new BigUint64Array(await readback.read(staging, bytes));
    device.check();
    return commands.map(({ kernel, scope, weightBytes }, i) => ({
      kernel,
      scope,
      seconds: Number(stamps[2 * i + 1] - stamps[2 * i]) * 1e-9,
      weightBytes: weightBytes(sizes),
    }));
  } finally {
    for (const buffer of buffers) device.release(buffer);
    for (const { queries } of sections) queries.destroy();
  }
}

function makeSections(device: WebGpuDevice, commands: readonly Command[]): Section[] {
  const sections: Section[] = [];
  for (let start = 0; start < commands.length; start += MOST_QUERIES / 2) {
    const part = commands.slice(start, start + MOST_QUERIES / 2);
    const queries = device.gpu.createQuerySet({ type: "timestamp", count: 2 * part.length });
    device.created.querySets++;
    sections.push({ queries, commands: part });
  }
  return sections;
}
