/**
 * Weights on their way from checkpoint files into GPU buffers, job by job: host memory holds the
 * jobs under way, whatever the model's size, and GPU memory one copy of every weight.
 *
 * @module
 */

import { tensorBytes, type Value } from "../../graph/mod.ts";
import type { WordOrder } from "../../kernels/mod.ts";
import type { WebGpuDevice } from "./device/device.ts";
import type { PipelineCache } from "./device/pipelines.ts";
import { reorderWeights } from "./device/reorder.ts";
import { UploadRing } from "./device/upload_ring.ts";
import {
  type DistinctWeight,
  distinctWeights,
  type LargestNumbers,
  type LoadOptions,
  readWeights,
} from "../weight_loading.ts";
import type { ProgramContext } from "./program_context.ts";
import { Upload } from "./upload.ts";

/** A weight and its buffer. */
interface Entry extends DistinctWeight {
  readonly buffer: GPUBuffer;
  /** How kernels expect its rows; as the checkpoint has them when absent. */
  readonly order?: WordOrder;
}

/** The weights of a program on the device; equal ones share a buffer. */
export class DeviceWeights {
  readonly #entries: Entry[] = [];
  readonly #bufferOf = new Map<number, GPUBuffer>();

  private constructor(readonly device: WebGpuDevice, readonly pipelines: PipelineCache) {}

  /**
   * Allocates every buffer before anything is read, so that lack of memory shows at once. Values that are
   * read in different orders share no buffer.
   */
  static async allocate(
    values: readonly Value[],
    { device, pipelines }: Pick<ProgramContext, "device" | "pipelines">,
    orders: ReadonlyMap<number, WordOrder> = new Map(),
  ): Promise<DeviceWeights> {
    const weights = new DeviceWeights(device, pipelines);
    const alike = Map.groupBy(values, ({ id }) => JSON.stringify(orders.get(id)));
    try {
      for (const distinct of [...alike.values()].flatMap(distinctWeights)) {
        const { weight, name, ids } = distinct;
        const buffer = await device.allocate(`weight "${name}"`, tensorBytes(weight));
        const order = orders.get(ids[0]);
        weights.#entries.push({ ...distinct, buffer, ...(order && { order }) });
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
      await this.#reorder();
      return largest;
    } finally {
      ring?.dispose();
    }
  }

  /** Words into the orders that kernels read them in, at the speed of the device's memory. */
  async #reorder(): Promise<void> {
    const ordered = this.#entries.flatMap(({ order, weight, buffer }) =>
      order ? [{ order, buffer, bytes: tensorBytes(weight) }] : []
    );
    await reorderWeights(this.device, this.pipelines, ordered);
    this.device.check();
  }

  release(): void {
    for (const { buffer } of this.#entries) this.device.release(buffer);
    this.#entries.length = 0;
  }
}
