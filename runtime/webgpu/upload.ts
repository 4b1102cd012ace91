/**
 * Bytes on their way into GPU buffers. The queue keeps a copy of what it is given until it has run, so
 * it is waited for before more than a fixed number of bytes has been given to it.
 *
 * @module
 */

import { yieldToEventLoop } from "../event_loop.ts";

/** Bytes of which the queue may have copies: enough to keep a bus busy while the next are read. */
const UNWAITED_BYTES = 32 * 2 ** 20;

/** What bytes are brought to. */
export interface UploadTarget {
  readonly gpu: {
    readonly queue: Pick<GPUQueue, "writeBuffer" | "submit" | "onSubmittedWorkDone">;
  };
  /** Raises the first failure that the device reported. */
  check(): void;
}

/** Copies bytes to buffers of a device. */
export class Upload {
  #unwaited = 0;

  constructor(readonly device: UploadTarget, readonly unwaitedBytes = UNWAITED_BYTES) {}

  /** Copies bytes that may be overwritten afterwards, once the queue has room for a copy. */
  async write(
    buffer: GPUBuffer,
    byteOffset: number,
    bytes: Uint8Array<ArrayBuffer>,
  ): Promise<void> {
    const size = Math.ceil(bytes.byteLength / 4) * 4;
    if (this.#unwaited > 0 && this.#unwaited + size > this.unwaitedBytes) await this.finish();
    this.#writeAligned(buffer, byteOffset, bytes);
    this.#unwaited += size;
  }

  /**
   * Waits for every copy: they are on the device, and their memory is free again. Deno's WebGPU waits
   * within the call itself, and then about 11 ms more for code that awaits its promise.
   */
  async finish(): Promise<void> {
    this.#unwaited = 0;
    this.device.gpu.queue.submit([]);
    this.device.gpu.queue.onSubmittedWorkDone().catch(() => {});
    await yieldToEventLoop();
    this.device.check();
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
