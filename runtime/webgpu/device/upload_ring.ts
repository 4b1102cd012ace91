/**
 * Bytes on their way to the device through a few mapped buffers that are used again and again. Dawn
 * allocates and clears memory anew for every `writeBuffer` of some MiB, which takes longer than copying.
 *
 * @module
 */

import type { WebGpuDevice } from "./device.ts";

/** Buffers of a ring, and the most bytes of each: one is filled while others are copied from. */
const SLOTS = 4;
const SLOT_BYTES = 8 * 2 ** 20;
/** The least, for small models. */
const LEAST_BYTES = 1024;

/** Bytes of a slot that go to a buffer. */
interface Copy {
  readonly target: GPUBuffer;
  readonly targetOffset: number;
  readonly at: number;
  readonly bytes: number;
}

/** A mapped buffer, and what is in it. */
interface Slot {
  readonly buffer: GPUBuffer;
  /** Its memory, once it is mapped. */
  mapped: Promise<Uint8Array<ArrayBuffer>>;
  readonly copies: Copy[];
  used: number;
}

/** Mapped buffers of a device. */
export class UploadRing {
  readonly #slots: Slot[] = [];
  #current = 0;

  private constructor(readonly device: WebGpuDevice, readonly slotBytes: number) {}

  /** Allocates the buffers for so many bytes to come. */
  static async open(device: WebGpuDevice, bytes: number): Promise<UploadRing> {
    const share = Math.ceil(bytes / SLOTS / 16) * 16;
    const slotBytes = Math.min(SLOT_BYTES, Math.max(LEAST_BYTES, share));
    const ring = new UploadRing(device, slotBytes);
    const usage = GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC;
    try {
      for (let i = 0; i < SLOTS; i++) {
        const buffer = await device.allocate("staging memory for weights", slotBytes, usage, true);
        const mapped = Promise.resolve(new Uint8Array(buffer.getMappedRange()));
        ring.#slots.push({ buffer, mapped, copies: [], used: 0 });
      }
    } catch (error) {
      ring.dispose();
      throw error;
    }
    return ring;
  }

  /** Copies bytes to a buffer at a multiple of 4; a last word that is not whole ends in zeros. */
  async write(target: GPUBuffer, offset: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    // A lost device takes its mapped memory away, or refuses to map it again.
    await this.#explained(() => this.#fill(target, offset, bytes));
  }

  async #fill(target: GPUBuffer, offset: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const slot = this.#slots[this.#current];
      const memory = await slot.mapped;
      const part = bytes.subarray(done, done + this.slotBytes - slot.used);
      const whole = Math.ceil(part.length / 4) * 4;
      memory.set(part, slot.used);
      memory.fill(0, slot.used + part.length, slot.used + whole);
      slot.copies.push({ target, targetOffset: offset + done, at: slot.used, bytes: whole });
      slot.used += whole;
      done += part.length;
      if (slot.used === this.slotBytes) this.#send(slot);
    }
  }

  /** Waits until everything is on the device. */
  async finish(): Promise<void> {
    await this.#explained(async () => {
      const slot = this.#slots[this.#current];
      if (slot.used > 0) this.#send(slot);
      await Promise.all(this.#slots.map(({ mapped }) => mapped));
    });
    this.device.check();
  }

  /** Frees the buffers. */
  dispose(): void {
    for (const { buffer, mapped } of this.#slots.splice(0)) {
      mapped.catch(() => {});
      this.device.release(buffer);
    }
  }

  /** What the device says where its API only throws. */
  async #explained<Result>(work: () => Result | Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      throw await this.device.explain(error);
    }
  }

  /** Submits the copies of a slot and goes on with the next one. */
  #send(slot: Slot): void {
    const { gpu } = this.device;
    slot.buffer.unmap();
    const encoder = gpu.createCommandEncoder();
    for (const { target, targetOffset, at, bytes } of slot.copies.splice(0)) {
      encoder.copyBufferToBuffer(slot.buffer, at, target, targetOffset, bytes);
    }
    gpu.queue.submit([encoder.finish()]);
    slot.used = 0;
    // When it is mapped again, its copies are done.
    slot.mapped = slot.buffer.mapAsync(GPUMapMode.WRITE)
      .then(() => new Uint8Array(slot.buffer.getMappedRange()));
    slot.mapped.catch(() => {});
    this.#current = (this.#current + 1) % this.#slots.length;
  }
}
