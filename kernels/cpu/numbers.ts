/**
 * Host tensors as numbers: decoding of the element types that JavaScript has no array for, and the
 * way back.
 *
 * @module
 */

import {
  bf16ToF32,
  type DType,
  E4M3_VALUES,
  elementCount,
  encodeE4M3,
  f32ToBf16,
  type HostTensor,
  invariant,
  zeros,
} from "../../graph/mod.ts";

/** Arrays whose elements are plain numbers. */
export type NumberArray =
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>;

/** Elements as numbers; the tensor's own array where that is possible. */
export function numbers(tensor: HostTensor): NumberArray {
  const { data } = tensor;
  if (tensor.dtype === "i64") return Float64Array.from(data as BigInt64Array, Number);
  if (data instanceof BigInt64Array) invariant(false, `${tensor.dtype} tensor in 64-bit integers`);
  if (data instanceof Float16Array || data instanceof Uint16Array) return floats(tensor);
  return tensor.dtype === "f8_e4m3" ? floats(tensor) : data;
}

/** Elements as f32; the tensor's own array when it holds f32. */
export function floats(tensor: HostTensor): Float32Array<ArrayBuffer> {
  const { data, dtype } = tensor;
  if (data instanceof Float32Array) return data;
  if (data instanceof BigInt64Array) return Float32Array.from(data, Number);
  const result = new Float32Array(data.length);
  if (dtype === "bf16") { for (let i = 0; i < data.length; i++) result[i] = bf16ToF32(data[i]); }
  else if (dtype === "f8_e4m3") {
    for (let i = 0; i < data.length; i++) result[i] = E4M3_VALUES[data[i]];
  } else result.set(data);
  return result;
}

/** Elements as i32, such as indices; the tensor's own array when it holds i32. */
export function integers(tensor: HostTensor): Int32Array<ArrayBuffer> {
  const { data } = tensor;
  if (data instanceof Int32Array) return data;
  return data instanceof BigInt64Array ? Int32Array.from(data, Number) : Int32Array.from(data);
}

/** An f32 tensor over an array, which it takes over. */
export function f32Tensor(
  shape: readonly number[],
  data: Float32Array<ArrayBuffer> = new Float32Array(elementCount(shape)),
): HostTensor {
  return { dtype: "f32", shape, data };
}

/** An i32 tensor over an array, which it takes over. */
export function i32Tensor(
  shape: readonly number[],
  data: Int32Array<ArrayBuffer> = new Int32Array(elementCount(shape)),
): HostTensor {
  return { dtype: "i32", shape, data };
}

const ENCODERS: { readonly [Type in DType]?: (value: number) => number } = {
  bf16: f32ToBf16,
  f8_e4m3: encodeE4M3,
  bool: (value) => Number(value !== 0),
};

/** Numbers as a tensor of an element type, rounded to nearest even; integers drop fractions. */
export function fromNumbers(
  dtype: DType,
  shape: readonly number[],
  values: NumberArray,
): HostTensor {
  if (dtype === "f32") return f32Tensor(shape, Float32Array.from(values));
  if (dtype === "i64") {
    const data = new BigInt64Array(values.length);
    for (let i = 0; i < values.length; i++) data[i] = BigInt(Math.trunc(values[i]));
    return { dtype, shape, data };
  }
  const result = zeros(dtype, shape);
  const { data } = result;
  invariant(!(data instanceof BigInt64Array), "64-bit integers are handled above");
  const encode = ENCODERS[dtype];
  if (encode) { for (let i = 0; i < values.length; i++) data[i] = encode(values[i]); }
  else data.set(values);
  return result;
}

/** Array in which results of an element type are computed before {@linkcode asTensor}. */
export function resultArray(dtype: DType, length: number): NumberArray {
  switch (dtype) {
    case "i32":
    case "u8":
    case "i8":
    case "bool":
      return new Int32Array(length);
    case "u32":
    case "i64":
      return new Float64Array(length);
    default:
      return new Float32Array(length);
  }
}

/** A tensor over an array of {@linkcode resultArray}; copies only where the type needs it. */
export function asTensor(dtype: DType, shape: readonly number[], values: NumberArray): HostTensor {
  if (dtype === "f32" && values instanceof Float32Array) return f32Tensor(shape, values);
  if (dtype === "i32" && values instanceof Int32Array) return i32Tensor(shape, values);
  return fromNumbers(dtype, shape, values);
}

/** Row-major strides in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape[i];
  }
  return strides;
}

/**
 * A dimension with what lies outside and inside of it: element (o, i, n) of a tensor is at
 * `(o * size + i) * inner + n`.
 */
export function splitAt(shape: readonly number[], dim: number): {
  readonly at: number;
  readonly outer: number;
  readonly size: number;
  readonly inner: number;
} {
  const at = dim < 0 ? dim + shape.length : dim;
  return {
    at,
    outer: elementCount(shape.slice(0, at)),
    size: shape[at],
    inner: elementCount(shape.slice(at + 1)),
  };
}
