/**
 * Reading what the GPU wrote. Deno's `mapAsync` polls every 10 ms, so an awaited read costs about
 * 11 ms; but the call itself waits for the queue before it returns, and the mapped range is available at
 * once. A self-test at start-up decides which of the two is used. Other providers of WebGPU wake up at
 * once, so that their reads are awaited.
 *
 * @module
 */

import { messageOf } from "../../../graph/mod.ts";
import type { ReadMode } from "../providers/mod.ts";
import type { WebGpuDevice } from "./device.ts";

/**
 * Versions of Deno in which the self-test itself is known to be harmless: mapping a buffer that was
 * created mapped cannot hit the panic of `mapAsync` on a buffer whose mode was never set.
 */
const TRIED_VERSIONS = /^2\.9\./;

/** The reason where the caller chose, or the provider of WebGPU has one way only. */
const ASKED_FOR = "asked for";

/** Reads buffers of one device. */
export class Readback {
  #mode: ReadMode;
  #reason: string;
  readonly #isAskedFor: boolean;

  private constructor(readonly device: WebGpuDevice, mode: ReadMode, reason: string) {
    this.#mode = mode;
    this.#reason = reason;
    this.#isAskedFor = reason === ASKED_FOR;
  }

  /** Chooses the mode by a test; `mode` skips the test. */
  static async open(device: WebGpuDevice, mode?: ReadMode): Promise<Readback> {
    const chosen = mode ?? device.provider.readMode;
    if (chosen) return new Readback(device, chosen, ASKED_FOR);
    const refusal = await synchronousRefusal(device);
    return refusal === undefined
      ? new Readback(device, "synchronous", "the self-test read back what was written")
      : new Readback(device, "awaited", refusal);
  }

  get mode(): ReadMode {
    return this.#mode;
  }

  /** Why results come back in this mode. */
  get reason(): string {
    return this.#reason;
  }

  /** A sentence for people where the slow mode was not their choice. */
  get notice(): string | undefined {
    if (this.#mode === "synchronous" || this.#isAskedFor) return undefined;
    return `results are awaited, some 11 ms a read: ${this.#reason}`;
  }

  /** A buffer that results are copied to. */
  staging(bytes: number): Promise<GPUBuffer> {
    return stagingBuffer(this.device, bytes);
  }

  /** Waits for everything submitted and gives a copy of the first bytes of a staging buffer. */
  async read(staging: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    const size = Math.ceil(bytes / 4) * 4;
    const mapped = staging.mapAsync(GPUMapMode.READ, 0, size);
    if (this.#mode === "synchronous") {
      mapped.catch(ignore);
      try {
        return take(staging, size);
      } catch (error) {
        // Not mapped yet after all: from here on every read is awaited.
        this.#mode = "awaited";
        this.#reason = `a result was not there at once: ${messageOf(error)}`;
      }
    }
    await mapped;
    return take(staging, size);
  }
}

/** A buffer that results are copied to and that can be mapped. */
export async function stagingBuffer(device: WebGpuDevice, bytes: number): Promise<GPUBuffer> {
  const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ;
  // Created mapped: Deno panics when the range of a buffer is asked for whose mode was never set.
  const buffer = await device.allocate("staging memory for results", bytes, usage, true);
  buffer.unmap();
  return buffer;
}

function take(staging: GPUBuffer, size: number): ArrayBuffer {
  const copy = staging.getMappedRange(0, size).slice(0);
  staging.unmap();
  return copy;
}

/** Why reading without awaiting cannot be used here, or undefined when it can. */
async function synchronousRefusal(device: WebGpuDevice): Promise<string | undefined> {
  const version = Deno.version.deno;
  if (!TRIED_VERSIONS.test(version)) {
    return `reading without waiting was never tried with Deno ${version}`;
  }
  const { gpu } = device;
  const source = await device.allocate("readback self-test", 64);
  const staging = await stagingBuffer(device, 64);
  try {
    for (let round = 1; round <= 3; round++) {
      const pattern = Uint32Array.from({ length: 16 }, (_, i) => i * 2654435761 + round);
      gpu.queue.writeBuffer(source, 0, pattern);
      const encoder = gpu.createCommandEncoder();
      encoder.copyBufferToBuffer(source, 0, staging, 0, 64);
      gpu.queue.submit([encoder.finish()]);
      const pending = staging.mapAsync(GPUMapMode.READ, 0, 64);
      pending.catch(ignore);
      try {
        const got = new Uint32Array(take(staging, 64));
        if (!got.every((value, i) => value === pattern[i])) return "the self-test read stale data";
      } catch (error) {
        await pending;
        return `the self-test failed: ${messageOf(error)}`;
      }
    }
    return undefined;
  } finally {
    device.release(source);
    device.release(staging);
  }
}

function ignore(): void {}
