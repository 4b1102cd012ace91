/**
 * GPU time of small pieces of work, by timestamp queries where the device has them and by the wall
 * clock otherwise.
 *
 * A GPU that waits between submits lowers its clock (an H100 goes from 1,900 to 345 MHz within
 * milliseconds, which makes the next kernel up to seven times slower), so every measurement is
 * preceded, in the same submit, by work that keeps it busy. After a longer wait, as while a shader
 * compiles, that is not enough: the work in front is timed too, and a measurement is repeated when
 * that work took longer than it should.
 *
 * @module
 */

import { KernelError } from "../../../graph/mod.ts";
import spinShader from "./ceiling_fma.wgsl" with { type: "text" };
import type { WebGpuDevice } from "../device/device.ts";

/** One dispatch, ready to be encoded. */
export interface Work {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  readonly workgroups: readonly [number, number, number?];
}

/** How much longer than its shortest time the work in front may take. */
const SPIN_TOLERANCE = 1.04;

/** Measurements after which a clock that stays low is accepted. */
const ATTEMPTS = 8;

/** Shortest time of the work in front, by device. */
const SHORTEST_SPIN = new WeakMap<WebGpuDevice, number>();

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
      ? gpu.createQuerySet({ type: "timestamp", count: 4 })
      : undefined;
    const { QUERY_RESOLVE, COPY_SRC, COPY_DST, MAP_READ, STORAGE } = GPUBufferUsage;
    this.#resolve = gpu.createBuffer({ size: 32, usage: QUERY_RESOLVE | COPY_SRC });
    this.#readback = gpu.createBuffer({ size: 32, usage: COPY_DST | MAP_READ });
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
    const { gpu, provider } = this.#device;
    const pipeline = gpu.createComputePipeline({
      layout: "auto",
      compute: {
        module: gpu.createShaderModule({ code: provider.shader(wgsl) }),
        entryPoint: "main",
        constants,
      },
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
    const isSpinTimed = this.#queries && !this.#device.profile.software;
    if (!isSpinTimed) return (await this.#once(list)).seconds;
    if (!SHORTEST_SPIN.has(this.#device)) await this.#learnSpin();
    for (let attempt = 1;; attempt++) {
      const { seconds, spin } = await this.#once(list);
      const shortest = Math.min(SHORTEST_SPIN.get(this.#device) ?? spin, spin);
      const steady = spin <= shortest * SPIN_TOLERANCE;
      SHORTEST_SPIN.set(this.#device, steady || attempt < ATTEMPTS ? shortest : spin);
      if (steady || attempt === ATTEMPTS) return seconds;
    }
  }

  /** The shortest of some runs of the work in front, which raise the clock on the way. */
  async #learnSpin(): Promise<void> {
    let shortest = Infinity;
    for (let run = 0; run < ATTEMPTS; run++) {
      shortest = Math.min(shortest, (await this.#once([])).spin);
    }
    SHORTEST_SPIN.set(this.#device, shortest);
  }

  /** One submit; `spin` is 0 where there is no work in front, or no clock for it. */
  async #once(list: readonly Work[]): Promise<{ seconds: number; spin: number }> {
    const { gpu, profile } = this.#device;
    const encoder = gpu.createCommandEncoder();
    encodeWork(encoder, profile.software ? [] : [this.#spinning()], this.#timestamps(0));
    encodeWork(encoder, list, this.#timestamps(2));
    if (this.#queries) encoder.resolveQuerySet(this.#queries, 0, 4, this.#resolve, 0);
    encoder.copyBufferToBuffer(this.#resolve, 0, this.#readback, 0, 32);
    const start = performance.now();
    gpu.queue.submit([encoder.finish()]);
    await this.#readback.mapAsync(GPUMapMode.READ);
    const wall = (performance.now() - start) / 1000;
    const times = new BigUint64Array(this.#readback.getMappedRange().slice(0));
    this.#readback.unmap();
    this.#device.check();
    if (!this.#queries) return { seconds: wall, spin: 0 };
    const [spinBegin, spinEnd, begin, end] = times;
    if (list.length > 0 && end <= begin) {
      throw new KernelError(
        "kernel/timestamp",
        `Cannot time work on "${profile.description}": expected rising timestamps, got ${begin} and ${end}`,
        { hint: "Report the driver; there are no GPU times on this device" },
      );
    }
    const spin = profile.software ? 0 : Number(spinEnd - spinBegin) / 1e9;
    return { seconds: Number(end - begin) / 1e9, spin };
  }

  /** Timestamps of a pass, into this query and the next; none where the device has no queries. */
  #timestamps(first: number): GPUComputePassTimestampWrites | undefined {
    if (!this.#queries) return undefined;
    return {
      querySet: this.#queries,
      beginningOfPassWriteIndex: first,
      endOfPassWriteIndex: first + 1,
    };
  }

  dispose(): void {
    this.#queries?.destroy();
    for (const buffer of [this.#resolve, this.#readback, this.#spinInput, this.#spinResult]) {
      buffer.destroy();
    }
  }

  /** About 20 ms of arithmetic on an H100. */
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
