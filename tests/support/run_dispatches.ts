/**
 * Runs dispatches on the machine's GPU without a graph: for tests of single kernels, of caches and
 * of state that outlives a step.
 *
 * @module
 */

import { DTYPE_BYTES, type HostArray, invariant } from "../../graph/mod.ts";
import { isSameOrder } from "../../kernels/access/order.ts";
import type {
  Binding,
  DeviceProfile,
  Dispatch,
  StepSizes,
  WordOrder,
} from "../../kernels/kernel.ts";
import {
  openDevice,
  type OpenDeviceOptions,
  type WebGpuDevice,
} from "../../runtime/webgpu/device/device.ts";
import { PipelineCache } from "../../runtime/webgpu/device/pipelines.ts";
import { reorderWeights } from "../../runtime/webgpu/device/reorder.ts";
import { sharedExecutor } from "./shared_executor.ts";

/** Memory that a binding names. */
export type Memory = Binding["buffer"];

/** Compiled pipelines of the device that tests share. */
let sharedPipelines: PipelineCache | undefined;

/** A device with buffers by binding; they live until the runner is closed. */
export class DispatchRunner {
  readonly #buffers = new Map<string, GPUBuffer>();
  /** Orders that weights were put into since they were written. */
  readonly #orders = new Map<string, WordOrder>();

  private constructor(
    readonly device: WebGpuDevice,
    readonly pipelines: PipelineCache,
    private readonly isShared: boolean,
  ) {}

  /** Takes the device that the tests of this process share, or opens one with options of its own. */
  static async open(options?: OpenDeviceOptions): Promise<DispatchRunner> {
    if (options) {
      const device = await openDevice(options);
      return new DispatchRunner(device, new PipelineCache(device), false);
    }
    const { device } = sharedExecutor();
    sharedPipelines ??= new PipelineCache(device);
    return new DispatchRunner(device, sharedPipelines, true);
  }

  get profile(): DeviceProfile {
    return this.device.profile;
  }

  /** Fills memory, which gets the size of the data when it is new. */
  write(memory: Memory, data: HostArray): void {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    // Nothing is bound of a cache without values, and Deno 2.9 panics where nothing is written.
    if (bytes.byteLength === 0) return;
    const buffer = this.#buffer(memory, bytes.byteLength);
    this.#orders.delete(memoryKey(memory));
    const padded = new Uint8Array(Math.ceil(bytes.byteLength / 4) * 4);
    padded.set(bytes);
    this.device.gpu.queue.writeBuffer(buffer, 0, padded);
  }

  /** Makes zeroed memory of that size. */
  allocate(memory: Memory, bytes: number): void {
    this.#buffer(memory, bytes);
  }

  /** Runs the dispatches in order, in one submit. */
  async run(dispatches: readonly Dispatch[], sizes: StepSizes): Promise<void> {
    const { gpu } = this.device;
    this.write({ kind: "step" }, Uint32Array.of(sizes.T, sizes.R, sizes.S, sizes.P));
    const ready = [];
    for (const dispatch of dispatches) {
      for (const binding of dispatch.bindings) await this.#order(binding);
      const { pipeline, layout } = await this.pipelines.get(dispatch);
      const entries = dispatch.bindings.map(({ buffer, range }, binding) => {
        const bound = this.#buffer(buffer, memoryBytes(buffer, sizes));
        return {
          binding,
          resource: { buffer: bound, offset: range?.offset ?? 0, size: range?.bytes ?? bound.size },
        };
      });
      gpu.pushErrorScope("validation");
      const group = gpu.createBindGroup({ layout, entries });
      const error = await gpu.popErrorScope();
      invariant(!error, `${dispatch.kernel}: ${error?.message}`);
      ready.push({ pipeline, group, dispatch });
    }
    gpu.pushErrorScope("validation");
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const { pipeline, group, dispatch } of ready) {
      const [x, y, z] = dispatch.workgroups(sizes);
      if (x * y * z === 0) continue;
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(x, y, z);
    }
    pass.end();
    gpu.queue.submit([encoder.finish()]);
    const error = await gpu.popErrorScope();
    invariant(!error, `the dispatches failed: ${error?.message}`);
  }

  /** The first bytes of some memory. */
  async readBytes(memory: Memory, bytes: number): Promise<ArrayBuffer> {
    const { gpu } = this.device;
    const size = Math.ceil(bytes / 4) * 4;
    const staging = gpu.createBuffer({
      size,
      usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
    });
    const encoder = gpu.createCommandEncoder();
    encoder.copyBufferToBuffer(this.#buffer(memory, bytes), 0, staging, 0, size);
    gpu.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const copy = staging.getMappedRange().slice(0, bytes);
    staging.unmap();
    staging.destroy();
    this.device.check();
    return copy;
  }

  async readF32(memory: Memory, count: number): Promise<Float32Array<ArrayBuffer>> {
    return new Float32Array(await this.readBytes(memory, count * 4));
  }

  async readI32(memory: Memory, count: number): Promise<Int32Array<ArrayBuffer>> {
    return new Int32Array(await this.readBytes(memory, count * 4));
  }

  /** Forgets the buffers, for the next case on the same device and its compiled pipelines. */
  clear(): void {
    for (const buffer of this.#buffers.values()) buffer.destroy();
    this.#buffers.clear();
    this.#orders.clear();
  }

  close(): void {
    this.clear();
    if (!this.isShared) this.device.close();
  }

  /** Puts a weight into the order that a binding expects. */
  async #order({ buffer, order }: Binding): Promise<void> {
    const known = this.#orders.get(memoryKey(buffer));
    if (isSameOrder(known, order)) return;
    invariant(order && !known, `a weight in another order than it is read in`);
    const memory = this.#buffer(buffer, 0);
    await reorderWeights(this.device, this.pipelines, [{
      ...{ buffer: memory, order },
      bytes: memory.size,
    }]);
    this.#orders.set(memoryKey(buffer), order);
  }

  #buffer(memory: Memory, bytes: number): GPUBuffer {
    const key = memoryKey(memory);
    const known = this.#buffers.get(key);
    if (known) return known;
    const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST |
      (memory.kind === "step" ? GPUBufferUsage.UNIFORM : GPUBufferUsage.STORAGE);
    const buffer = this.device.gpu.createBuffer({
      size: Math.max(16, Math.ceil(bytes / 16) * 16),
      usage,
    });
    this.#buffers.set(key, buffer);
    return buffer;
  }
}

/** Runs a test body with a runner, whose memory is its own. */
export async function withRunner(
  body: (runner: DispatchRunner) => Promise<void>,
  options?: OpenDeviceOptions,
): Promise<void> {
  const runner = await DispatchRunner.open(options);
  try {
    await body(runner);
  } finally {
    runner.close();
  }
}

function memoryKey(memory: Memory): string {
  switch (memory.kind) {
    case "scratch":
      return `scratch ${memory.name}`;
    case "cache":
      return `cache ${memory.cache} ${memory.part}`;
    case "step":
      return "step";
    case "state":
      return `state ${memory.name}`;
    default:
      return `value ${memory.id}`;
  }
}

function memoryBytes(memory: Memory, sizes: StepSizes): number {
  switch (memory.kind) {
    case "scratch":
      return memory.bytes;
    case "step":
      return 16;
    case "cache":
    case "state":
      return 16;
    default:
      return memory.shape.reduce<number>((product, dim) => {
        const size = typeof dim === "number" ? dim : Reflect.get(sizes, dim);
        invariant(typeof size === "number", `no size for symbol ${dim}`);
        return product * size;
      }, DTYPE_BYTES[memory.dtype]);
  }
}
