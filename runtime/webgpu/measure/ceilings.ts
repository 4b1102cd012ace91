/**
 * The ceilings of a device, measured on it: bytes read per second and f32 operations per second. Benches
 * report fractions of these besides times.
 *
 * @module
 */

import fmaShader from "./ceiling_fma.wgsl" with { type: "text" };
import readShader from "./ceiling_read.wgsl" with { type: "text" };
import type { WebGpuDevice } from "../device/device.ts";
import { GpuStopwatch } from "./stopwatch.ts";

/** Measured ceilings of a device. */
export interface Ceilings {
  readonly readBytesPerSecond: number;
  readonly flopsPerSecond: number;
  /** Seconds from one dependent dispatch to the next when a dispatch does almost nothing. */
  readonly dispatchSeconds: number;
  /** `timestamp-query` or `wall clock`. */
  readonly clock: string;
}

/** Work sizes: large for a GPU, small for a software adapter. */
const SIZES = {
  gpu: { loads: 32, readGroups: 16384, rounds: 1024, fmaGroups: 132 * 48, runs: 7 },
  software: { loads: 32, readGroups: 256, rounds: 16, fmaGroups: 64, runs: 5 },
} as const;

/**
 * Measures a device's ceilings; takes about a second.
 *
 * The read kernel passes over 2 GiB (32 MiB on software devices) so that no cache holds the data;
 * the arithmetic kernel runs independent chains of vec4 fma; the dispatch kernel is a chain of one
 * workgroup each, every one depending on the one before.
 */
export async function measureCeilings(device: WebGpuDevice): Promise<Ceilings> {
  const sizes = device.profile.software ? SIZES.software : SIZES.gpu;
  const readBytes = Math.min(
    sizes.readGroups * 256 * sizes.loads * 16,
    device.profile.maxBindingBytes - (device.profile.maxBindingBytes % (256 * sizes.loads * 16)),
  );
  const stopwatch = new GpuStopwatch(device);
  const buffers: GPUBuffer[] = [];
  const allocate = async (what: string, bytes: number) => {
    const buffer = await device.allocate(what, bytes);
    buffers.push(buffer);
    return buffer;
  };
  try {
    const result = await allocate("ceiling result", 4096);
    const input = await allocate("ceiling input", 16);
    const data = await allocate("ceiling data", readBytes);
    device.gpu.queue.writeBuffer(input, 0, Float32Array.of(0.999, 0.001, 0, 0));
    fill(device, data, readBytes);
    const groups = readBytes / (256 * sizes.loads * 16);
    const grid: [number, number] = [Math.min(groups, 1024), Math.ceil(groups / 1024)];
    const prelude = `const LOADS = ${sizes.loads}u;\n`;
    const read = stopwatch.work(prelude + readShader, [data, result], grid);
    const fma = stopwatch.work(`const ROUNDS = ${sizes.rounds}u;\n` + fmaShader, [input, result], [
      sizes.fmaGroups,
      1,
    ]);
    const chain = stopwatch.work("const ROUNDS = 1u;\n" + fmaShader, [input, result], [1, 1]);
    const readSeconds = await stopwatch.median([read], sizes.runs);
    const fmaSeconds = await stopwatch.median([fma], sizes.runs);
    const links = 64;
    const chainSeconds = await stopwatch.median(new Array(links).fill(chain), sizes.runs);
    return {
      readBytesPerSecond: readBytes / readSeconds,
      // 16 vec4 fma per round: 16 · 4 · 2 operations.
      flopsPerSecond: (sizes.fmaGroups * 256 * sizes.rounds * 128) / fmaSeconds,
      dispatchSeconds: chainSeconds / links,
      clock: stopwatch.clock,
    };
  } finally {
    for (const buffer of buffers) device.release(buffer);
    stopwatch.dispose();
  }
}

/** Random words: zeros can be read faster than real data. */
function fill(device: WebGpuDevice, buffer: GPUBuffer, bytes: number): void {
  const chunk = new Uint32Array(Math.min(bytes, 16 << 20) / 4);
  let state = 1;
  for (let i = 0; i < chunk.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    chunk[i] = state;
  }
  for (let offset = 0; offset < bytes; offset += chunk.byteLength) {
    device.gpu.queue.writeBuffer(
      buffer,
      offset,
      chunk,
      0,
      Math.min(chunk.length, (bytes - offset) / 4),
    );
  }
}
