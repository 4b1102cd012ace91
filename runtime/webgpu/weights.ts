/**
 * Weights on their way from checkpoint files into GPU buffers, chunk by chunk: host memory holds
 * about one chunk, whatever the model's size, and GPU memory one copy of every weight.
 *
 * @module
 */

import {
  DTYPE_BYTES,
  elementCount,
  RequestError,
  type TensorSource,
  type Value,
  type Weight,
} from "../../graph/mod.ts";
import { streamWeight } from "../../models/mod.ts";
import { breathe } from "../breathe.ts";
import type { CompileOptions } from "../executor.ts";
import type { WebGpuDevice } from "./device.ts";
import { weightKey } from "./weight_key.ts";

/** Bytes read and handed to the queue at a time; the queue holds a copy until it has sent them. */
const CHUNK_BYTES = 32 * 2 ** 20;

/** Bytes handed over before the queue is waited for, which frees its copies. */
const BYTES_BETWEEN_WAITS = 64 * 2 ** 20;

/** The weights of a program. */
export interface UploadedWeights {
  readonly buffers: readonly GPUBuffer[];
  readonly bytes: number;
  /** Buffer of a weight value, by its id. */
  readonly bufferOf: ReadonlyMap<number, GPUBuffer>;
}

/** Uploads each different weight once. On failure or abort nothing stays allocated. */
export async function uploadWeights(
  values: readonly Value[],
  device: WebGpuDevice,
  options: Pick<CompileOptions, "source" | "signal" | "onProgress">,
): Promise<UploadedWeights> {
  const distinct = new Map<string, { weight: Weight; name: string; ids: number[] }>();
  for (const { id, name, weight } of values) {
    if (!weight) continue;
    const key = weightKey(weight);
    const entry = distinct.get(key);
    if (entry) entry.ids.push(id);
    else distinct.set(key, { weight, name, ids: [id] });
  }
  const totalBytes = [...distinct.values()].reduce((sum, { weight }) => sum + bytesOf(weight), 0);
  const buffers: GPUBuffer[] = [];
  const bufferOf = new Map<number, GPUBuffer>();
  const upload = new Upload(device, options, totalBytes);
  try {
    for (const { weight, name, ids } of distinct.values()) {
      const buffer = await device.allocate(`weight "${name}"`, bytesOf(weight));
      buffers.push(buffer);
      for (const id of ids) bufferOf.set(id, buffer);
      await upload.write(weight, name, buffer, options.source);
    }
    await upload.wait();
  } catch (error) {
    for (const buffer of buffers) device.release(buffer);
    throw error;
  }
  return { buffers, bytes: totalBytes, bufferOf };
}

/** Bytes of a weight's elements. */
export function bytesOf(weight: Weight): number {
  return elementCount(weight.shape) * DTYPE_BYTES[weight.dtype];
}

class Upload {
  #done = 0;
  #unwaited = 0;

  constructor(
    readonly device: WebGpuDevice,
    readonly options: Pick<CompileOptions, "signal" | "onProgress">,
    readonly totalBytes: number,
  ) {}

  async write(weight: Weight, name: string, buffer: GPUBuffer, source: TensorSource) {
    const { signal, onProgress } = this.options;
    for await (
      const { byteOffset, bytes } of streamWeight(weight, source, { chunkBytes: CHUNK_BYTES })
    ) {
      if (signal?.aborted) throw aborted(name, this.#done, this.totalBytes);
      this.#writeAligned(buffer, byteOffset, bytes);
      this.#done += bytes.byteLength;
      this.#unwaited += bytes.byteLength;
      onProgress?.({ bytes: this.#done, totalBytes: this.totalBytes, weight: name });
      if (this.#unwaited >= BYTES_BETWEEN_WAITS) await this.wait();
    }
    this.device.check();
  }

  /**
   * Lets the queue finish: what it held is on the device and its memory is free again. Deno waits
   * within the call itself, and then some 11 ms more for whoever awaits its promise.
   */
  async wait(): Promise<void> {
    this.#unwaited = 0;
    this.device.gpu.queue.submit([]);
    this.device.gpu.queue.onSubmittedWorkDone().catch(() => {});
    await breathe();
    this.device.check();
  }

  /** The queue takes whole words; only the end of a weight may be a broken one. */
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

function aborted(weight: string, done: number, total: number): RequestError {
  return new RequestError(
    "request/aborted",
    `Cannot load weight "${weight}": the load was aborted after ${done} of ${total} bytes`,
    { status: 499 },
  );
}
