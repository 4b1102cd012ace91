/**
 * Conversion between the plain element types of checkpoints.
 *
 * @module
 */

import {
  decodeE8M0,
  type DType,
  E4M3_VALUES,
  encodeE4M3,
  f32ToBf16,
  invariant,
  viewBytes,
} from "../../graph/mod.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Converts elements, rounding to nearest even; FP8 saturates. `out` holds as many as `bytes`. */
export function convert(from: DType, bytes: Bytes, to: DType, out: Bytes): void {
  if (from === "bf16" && to === "f32" && bytes.byteOffset % 2 === 0 && out.byteOffset % 4 === 0) {
    return widenBf16(bytes, out);
  }
  const values = toF32(from, bytes);
  switch (to) {
    case "f32":
      out.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      return;
    case "f16":
      out.set(new Uint8Array(new Float16Array(values).buffer));
      return;
    case "bf16":
      out.set(new Uint8Array(Uint16Array.from(values, f32ToBf16).buffer));
      return;
    case "f8_e4m3":
      for (let i = 0; i < values.length; i++) out[i] = encodeE4M3(values[i]);
      return;
    default:
      invariant(false, `weights of ${to} are not made by a cast`);
  }
}

/** The most frequent conversion of all, without memory of its own. */
function widenBf16(bytes: Bytes, out: Bytes): void {
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
  const words = new Uint32Array(out.buffer, out.byteOffset, halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = halves[i] << 16;
}

/** The real values of floating-point elements. */
export function toF32(dtype: DType, bytes: Bytes): Float32Array<ArrayBuffer> {
  const data = viewBytes(dtype, bytes);
  switch (dtype) {
    case "f32":
      return data as Float32Array<ArrayBuffer>;
    case "f16":
      return new Float32Array(data as Float16Array);
    case "bf16": {
      const values = new Float32Array(data.length);
      widenBf16(
        new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
        new Uint8Array(values.buffer),
      );
      return values;
    }
    case "f8_e4m3": {
      const values = new Float32Array(bytes.length);
      for (let i = 0; i < values.length; i++) values[i] = E4M3_VALUES[bytes[i]];
      return values;
    }
    case "f8_e8m0":
      return Float32Array.from(bytes, decodeE8M0);
    default:
      invariant(false, `${dtype} is not a floating-point type`);
  }
}
