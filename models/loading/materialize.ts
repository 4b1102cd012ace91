/**
 * Evaluates weight expressions in one streaming pass, from file ranges to the bytes an executor
 * keeps. Stacking, concatenating and slicing along the first dimension only change which bytes are
 * read next; the other expressions hold the smallest part that they need, such as the matrix of one expert.
 *
 * @module
 */

import {
  DTYPE_BYTES,
  type HostTensor,
  invariant,
  tensorBytes,
  type TensorSource,
  viewBytes,
  type Weight,
} from "../../graph/mod.ts";
import { WeightReader } from "./weight_reader.ts";

/** A chunk of a weight. */
export interface WeightChunk {
  /** Offset of its first byte in the weight, a multiple of 8. */
  readonly byteOffset: number;
  /** Little-endian elements. The next chunk overwrites them: use or copy them before asking for it. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Options of {@linkcode streamWeight}. */
export interface StreamOptions {
  /** Size of a chunk; every one but the last has it. Rounded up to a multiple of 8. */
  readonly chunkBytes?: number;
}

/** Default size of a chunk. */
export const CHUNK_BYTES = 64 * 2 ** 20;

/**
 * The bytes of a weight in ascending order and without gaps. Host memory holds about one chunk,
 * which is reused for the next one.
 *
 * @example
 * ```ts
 * import { constant, slice, stack } from "../../graph/mod.ts";
 * import { streamWeight } from "./materialize.ts";
 * const nothing = { read: () => Promise.reject(new Error("constants read no file")) };
 * const rows = stack([constant(Float32Array.of(1, 2)), constant(Float32Array.of(3, 4))]);
 * for await (const { bytes } of streamWeight(slice(rows, 0, 1, 2), nothing)) {
 *   console.assert(new Float32Array(bytes.buffer)[0] === 3);
 * }
 * ```
 */
export async function* streamWeight(
  weight: Weight,
  source: TensorSource,
  { chunkBytes = CHUNK_BYTES }: StreamOptions = {},
): AsyncGenerator<WeightChunk> {
  const total = tensorBytes(weight);
  const size = Math.min(Math.ceil(chunkBytes / 8) * 8, total);
  invariant(size > 0 || total === 0, `a chunk of ${chunkBytes} bytes holds nothing`);
  const reader = new WeightReader(source);
  const buffer = takeBuffer(size);
  try {
    for (let byteOffset = 0; byteOffset < total; byteOffset += size) {
      const bytes = new Uint8Array(buffer, 0, Math.min(size, total - byteOffset));
      await reader.fill(weight, byteOffset / DTYPE_BYTES[weight.dtype], bytes);
      yield { byteOffset, bytes };
    }
  } finally {
    spare = new WeakRef(buffer);
  }
}

/**
 * The buffer of the last stream. A model has thousands of weights; a buffer for each would wait for
 * the garbage collector, several chunks at a time.
 */
let spare: WeakRef<ArrayBuffer> | undefined;

function takeBuffer(size: number): ArrayBuffer {
  const buffer = spare?.deref();
  spare = undefined; // streams that run at the same time have buffers of their own
  return buffer && buffer.byteLength >= size ? buffer : new ArrayBuffer(size);
}

/** A whole weight in host memory. */
export async function loadWeight(weight: Weight, source: TensorSource): Promise<HostTensor> {
  const bytes = new Uint8Array(tensorBytes(weight));
  await new WeightReader(source).fill(weight, 0, bytes);
  return { dtype: weight.dtype, shape: weight.shape, data: viewBytes(weight.dtype, bytes) };
}
