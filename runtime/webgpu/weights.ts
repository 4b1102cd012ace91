/**
 * Weights on their way from checkpoint files into GPU buffers, job by job: host memory holds the
 * jobs under way, whatever the model's size, and GPU memory one copy of every weight.
 *
 * @module
 */

import { tensorBytes, type Value } from "../../graph/mod.ts";
import { yieldToEventLoop } from "../event_loop.ts";
import type { WebGpuDevice } from "./device/device.ts";
import {
  type DistinctWeight,
  distinctWeights,
  type LargestNumbers,
  type LoadOptions,
  readWeights,
} from "../weight_loading.ts";

/** Bytes handed over before the queue is waited for, which frees its copies. */
const BYTES_BETWEEN_WAITS = 64 * 2 ** 20;

/** A weight and its buffer. */
interface Entry extends DistinctWeight {
  readonly buffer: GPUBuffer;
}

/** The weights of a program on the device; equal ones share a buffer. */
export class DeviceWeights {
  readonly #entries: Entry[] = [];
  readonly #bufferOf = new Map<number, GPUBuffer>();

  private constructor(readonly device: WebGpuDevice) {}

  /** Allocates every buffer before anything is read, so that lack of memory shows at once. */
  static async allocate(values: readonly Value[], device: WebGpuDevice): Promise<DeviceWeights> {
    const weights = new DeviceWeights(device);
    try {
      for (const distinct of distinctWeights(values)) {
        const { weight, name, ids } = distinct;
        const buffer = await device.allocate(`weight "${name}"`, tensorBytes(weight));
        weights.#entries.push({ ...distinct, buffer });
        for (const id of ids) weights.#bufferOf.set(id, buffer);
      }
    } catch (error) {
      weights.release();
      throw error;
    }
    return weights;
  }

  /** Buffers in use. */
  get count(): number {
    return this.#entries.length;
  }

  get bytes(): number {
    return this.#entries.reduce((sum, { weight }) => sum + tensorBytes(weight), 0);
  }

  /** The buffer of a weight value. */
  buffer({ id }: Value): GPUBuffer | undefined {
    return this.#bufferOf.get(id);
  }

  /** Brings the weights from their source into their buffers; tells the largest of those measured. */
  async load(options: LoadOptions, measured: readonly Value[] = []): Promise<LargestNumbers> {
    const upload = new Upload(this.device);
    const largest = await readWeights(
      this.#entries,
      options,
      ({ buffer }, byteOffset, bytes) => upload.write(buffer, byteOffset, bytes),
      new Set(measured.map(({ id }) => id)),
    );
    await upload.finish();
    return largest;
  }

  release(): void {
    for (const { buffer } of this.#entries) this.device.release(buffer);
    this.#entries.length = 0;
  }
}

class Upload {
  #unwaited = 0;
  /** Resolves when the copies up to the wait before are on the device. */
  #before: Promise<unknown> = Promise.resolve();

  constructor(readonly device: WebGpuDevice) {}

  async write(buffer: GPUBuffer, byteOffset: number, bytes: Uint8Array<ArrayBuffer>) {
    this.#writeAligned(buffer, byteOffset, bytes);
    this.#unwaited += bytes.byteLength;
    if (this.#unwaited >= BYTES_BETWEEN_WAITS) await this.wait();
  }

  /**
   * Waits for the queue: its copies are on the device, and their memory is free again. Deno's WebGPU
   * waits within the call itself, and then about 11 ms more for code that awaits its promise. With a
   * provider whose results are awaited, the copies of the wait before are waited for, so that reading
   * goes on meanwhile.
   */
  async wait(): Promise<void> {
    this.#unwaited = 0;
    this.device.gpu.queue.submit([]);
    const done = this.device.gpu.queue.onSubmittedWorkDone();
    if (this.device.provider.readMode === "awaited") {
      await this.#before;
      this.#before = done;
    }
    done.catch(() => {});
    await yieldToEventLoop();
    this.device.check();
  }

  /** Waits for every copy. */
  async finish(): Promise<void> {
    await this.wait();
    await this.#before;
  }

  /** The queue takes whole words of 4 bytes; only the last word of a weight may be incomplete. */
  #writeAligned(buffer: GPUBuffer, offset: number, bytes: Uint8Array<ArrayBuffer>) {
    const whole = bytes.byteLength - bytes.byteLength % 4;
    const { queue } = this.device.gpu;
    if (whole > 0) queue.writeBuffer(buffer, offset, bytes, 0, whole);
    if (whole === bytes.byteLength) return;
    const tail = new Uint8Array(4);
    tail.set(bytes.subarray(whole));
    queue.writeBuffer(buffer, offset + whole, tail);
  }
}
