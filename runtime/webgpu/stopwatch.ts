/**
 * GPU time of small pieces of work, by timestamp queries where the device has them and by the wall
 * clock otherwise.
 *
 * A GPU that waits between submits lowers its clock (an H100 goes from 1,900 to 345 MHz within
 * milliseconds, which makes the next kernel up to seven times slower), so every measurement is
 * preceded, in the same submit, by work that keeps it busy.
 *
 * @module
 */

import { KernelError } from "../../graph/mod.ts";
import spinShader from "./ceiling_fma.wgsl" with { type: "text" };
import type { WebGpuDevice } from "./device.ts";

/** One dispatch, ready to be encoded. */
export interface Work {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly workgroups: readonly [number, number, number?];
}

/** Times lists of dispatches. */
export class GpuStopwatch {
  /** `timestamp-query` or `wall clock`. */
  readonly clock: string;
  readonly #device: WebGpuDevice;
  readonly #queries: GPUQuerySet | undefined;
  readonly #resolve: GPUBuffer;
  readonly #readback: GPUBuffer;
  #spin: Work | undefined;
  readonly #spinInput: GPUBuffer;
  readonly #spinResult: GPUBuffer;

  constructor(device: WebGpuDevice) {
    this.#device = device;
    const { gpu, profile } = device;
    this.clock = profile.timestamps ? "timestamp-query" : "wall clock";
    this.#queries = profile.timestamps
      ? gpu.createQuerySet({ type: "timestamp", count: 2 })
      : undefined;
    const { QUERY_RESOLVE, COPY_SRC, COPY_DST, MAP_READ, STORAGE } = GPUBufferUsage;
    this.#resolve = gpu.createBuffer({ size: 16, usage: QUERY_RESOLVE | COPY_SRC });
    this.#readback = gpu.createBuffer({ size: 16, usage: COPY_DST | MAP_READ });
    this.#spinInput = gpu.createBuffer({ size: 16, usage: STORAGE | COPY_DST });
    this.#spinResult = gpu.createBuffer({ size: 1024, usage: STORAGE });
  }

  /** Prepares a dispatch of WGSL text over whole buffers, bound in order. */
  work(
    wgsl: string,
    buffers: readonly GPUBuffer[],
    workgroups: readonly [number, number, number?],
    constants: Record<string, number> = {},
  ): Work {
    const { gpu } = this.#device;
    const pipeline = gpu.createComputePipeline({
      layout: "auto",
      compute: { module: gpu.createShaderModule({ code: wgsl }), entryPoint: "main", constants },
    });
    const bindGroup = gpu.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
    });
    return { pipeline, bindGroup, workgroups };
  }

  /** Median seconds of `runs` runs of the whole list; the first run is not counted. */
  async median(list: readonly Work[], runs: number): Promise<number> {
    const seconds: number[] = [];
    for (let run = 0; run <= runs; run++) {
      const measured = await this.measure(list);
      if (run > 0) seconds.push(measured);
    }
    seconds.sort((a, b) => a - b);
    return seconds[seconds.length >> 1];
  }

  /** Seconds of one run of the list. */
  async measure(list: readonly Work[]): Promise<number> {
    const { gpu } = this.#device;
    const encoder = gpu.createCommandEncoder();
    if (!this.#device.profile.software) encodeWork(encoder, [this.#spinning()]);
    if (this.#queries) {
      encodeWork(encoder, list, {
        querySet: this.#queries,
        beginningOfPassWriteIndex: 0,
        endOfPassWriteIndex: 1,
      });
      encoder.resolveQuerySet(this.#queries, 0, 2, this.#resolve, 0);
    } else encodeWork(encoder, list);
    encoder.copyBufferToBuffer(this.#resolve, 0, this.#readback, 0, 16);
    const start = performance.now();
    gpu.queue.submit([encoder.finish()]);
    await this.#readback.mapAsync(GPUMapMode.READ);
    const wall = (performance.now() - start) / 1000;
    const [begin, end] = new BigUint64Array(this.#readback.getMappedRange().slice(0));
    this.#readback.unmap();
    this.#device.check();
    if (!this.#queries) return wall;
    if (end <= begin) {
      throw new KernelError(
        "kernel/timestamp",
        `Cannot time work on "${this.#device.profile.description}": expected rising timestamps, got ${begin} and ${end}`,
        { hint: "Report the driver; benches on this device have no GPU times" },
      );
    }
    return Number(end - begin) / 1e9;
  }

  dispose(): void {
    this.#queries?.destroy();
    for (const buffer of [this.#resolve, this.#readback, this.#spinInput, this.#spinResult]) {
      buffer.destroy();
    }
  }

  /** About 20 ms of arithmetic on an H100; less on slower devices would idle them. */
  #spinning(): Work {
    return this.#spin ??= this.work(
      "const ROUNDS = 8192u;\n" + spinShader,
      [this.#spinInput, this.#spinResult],
      [2112, 1],
    );
  }
}

/** Puts a list into one compute pass. */
export function encodeWork(
  encoder: GPUCommandEncoder,
  list: readonly Work[],
  timestampWrites?: GPUComputePassTimestampWrites,
): void {
  const pass = encoder.beginComputePass(timestampWrites ? { timestampWrites } : {});
  for (const { pipeline, bindGroup, workgroups } of list) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2] ?? 1);
  }
  pass.end();
}
