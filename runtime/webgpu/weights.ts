/**
 * Weights on their way from checkpoint files into GPU buffers, job by job: host memory holds the
 * jobs under way, whatever the model's size, and GPU memory one copy of every weight.
 *
 * @module
 */

import { tensorBytes, type Value } from "../../graph/mod.ts";
import type { WebGpuDevice } from "./device/device.ts";
import { UploadRing } from "./device/upload_ring.ts";
import {
  type DistinctWeight,
  distinctWeights,
  type LargestNumbers,
  type LoadOptions,
  readWeights,
} from "../weight_loading.ts";
import { Upload } from "./upload.ts";

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
    const { device } = this;
    const ring = device.provider.allocatesForWrites
      ? await UploadRing.open(device, this.bytes)
      : undefined;
    const upload = ring ?? new Upload(device);
    try {
      const largest = await readWeights(
        this.#entries,
        options,
        ({ buffer }, byteOffset, bytes) => upload.write(buffer, byteOffset, bytes),
        new Set(measured.map(({ id }) => id)),
      );
      await upload.finish();
      return largest;
    } finally {
      ring?.dispose();
    }
  }

  release(): void {
    for (const { buffer } of this.#entries) this.device.release(buffer);
    this.#entries.length = 0;
  }
}
