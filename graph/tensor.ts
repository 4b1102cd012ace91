/**
 * Tensors in host memory, and where weights are read from.
 *
 * @module
 */

import { type DType, DTYPE_BYTES } from "./dtype.ts";
import { invariant } from "./errors.ts";
import { elementCount, type Shape } from "./shape.ts";

/** Element type and shape of a value. */
export interface TensorType {
  /** Element type. */
  readonly dtype: DType;
  /** Sizes, outermost first; symbols such as `T` are known when a step runs. */
  readonly shape: Shape;
}

/** Bytes of a tensor's elements. */
export function tensorBytes(
  { dtype, shape }: { readonly dtype: DType; readonly shape: readonly number[] },
): number {
  return elementCount(shape) * DTYPE_BYTES[dtype];
}

/** Arrays that hold elements. bf16 is kept as its bits in a Uint16Array, FP8 in a Uint8Array. */
export type HostArray =
  | Float32Array<ArrayBuffer>
  | Float16Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>;

/** A tensor in host memory, row-major. */
export interface HostTensor {
  /** Element type, which tells how `data` reads. */
  readonly dtype: DType;
  /** Sizes, outermost first. */
  readonly shape: readonly number[];
  /** Elements, row-major. */
  readonly data: HostArray;
}

/** Reads byte ranges of named tensors: a checkpoint, or arrays in memory. */
export interface TensorSource {
  /** Bytes `[byteOffset, byteOffset + byteLength)` of a tensor, little-endian, row-major. */
  read(name: string, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>>;
  /** The same into memory of the caller, as many bytes as it holds; absent where a source cannot. */
  readInto?(name: string, byteOffset: number, out: Uint8Array<ArrayBuffer>): Promise<void>;
}

/** A typed view of raw little-endian bytes. Copies when the bytes are not aligned for the type. */
export function viewBytes(dtype: DType, bytes: Uint8Array<ArrayBuffer>): HostArray {
  const size = DTYPE_BYTES[dtype];
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  const [buffer, offset, length] = [aligned.buffer, aligned.byteOffset, aligned.byteLength / size];
  invariant(
    Number.isInteger(length),
    `${bytes.byteLength} bytes are not a whole number of ${dtype}`,
  );
  switch (dtype) {
    case "f32":
      return new Float32Array(buffer, offset, length);
    case "f16":
      return new Float16Array(buffer, offset, length);
    case "bf16":
      return new Uint16Array(buffer, offset, length);
    case "i8":
      return new Int8Array(buffer, offset, length);
    case "i32":
      return new Int32Array(buffer, offset, length);
    case "u32":
      return new Uint32Array(buffer, offset, length);
    case "i64":
      return new BigInt64Array(buffer, offset, length);
    default:
      return new Uint8Array(buffer, offset, length);
  }
}

/** A tensor of zeros. */
export function zeros(dtype: DType, shape: readonly number[]): HostTensor {
  const bytes = new Uint8Array(tensorBytes({ dtype, shape }));
  return { dtype, shape, data: viewBytes(dtype, bytes) };
}
