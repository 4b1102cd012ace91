/**
 * Element types of tensors.
 *
 * @module
 */

/** Element type of a tensor in a graph or a checkpoint. */
export type DType =
  | "f32"
  | "f16"
  | "bf16"
  | "f8_e4m3"
  | "f8_e8m0"
  | "u8"
  | "i8"
  | "i32"
  | "u32"
  | "i64"
  | "bool";

/** Element type of a cache of keys and values. */
export type CacheDtype = Extract<DType, "f32" | "f16" | "f8_e4m3">;

/** Bytes of one element. */
export const DTYPE_BYTES: Readonly<Record<DType, number>> = {
  f32: 4,
  f16: 2,
  bf16: 2,
  f8_e4m3: 1,
  f8_e8m0: 1,
  u8: 1,
  i8: 1,
  i32: 4,
  u32: 4,
  i64: 8,
  bool: 1,
};

/** True for types that hold real numbers. */
export function isFloat(dtype: DType): boolean {
  return dtype === "f32" || dtype === "f16" || dtype === "bf16" || dtype.startsWith("f8_");
}

/** Value of bfloat16 bits. */
export function bf16ToF32(bits: number): number {
  SCRATCH_U32[0] = bits << 16;
  return SCRATCH_F32[0];
}

/** Bits of the bfloat16 nearest to a number, ties to even; NaN stays NaN. */
export function f32ToBf16(value: number): number {
  SCRATCH_F32[0] = value;
  const bits = SCRATCH_U32[0];
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

const SCRATCH_F32 = new Float32Array(1);
const SCRATCH_U32 = new Uint32Array(SCRATCH_F32.buffer);
