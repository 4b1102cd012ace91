/**
 * Finds invalid numbers of a checkpoint while its bytes are read: NaN, infinity, and
 * scales that are not above 0.
 *
 * @module
 */

import { CheckpointError, type DType, elementCount } from "../../graph/mod.ts";
import { toF32 } from "../formats/convert.ts";
import { fileName } from "./json_file.ts";
import type { TensorInfo } from "./safetensors.ts";

/** How many elements of a tensor are not finite numbers. */
export interface OddValues {
  readonly nan: number;
  readonly infinite: number;
}

/** Bits of an element type: where the exponent is, and which codes are NaN where there is no infinity. */
const EXPONENTS: Readonly<
  Partial<Record<DType, { readonly bytes: 1 | 2 | 4; readonly mask: number }>>
> = {
  f32: { bytes: 4, mask: 0x7f800000 },
  f16: { bytes: 2, mask: 0x7c00 },
  bf16: { bytes: 2, mask: 0x7f80 },
  f8_e4m3: { bytes: 1, mask: 0x7f },
  f8_e8m0: { bytes: 1, mask: 0xff },
};

/**
 * Whether some element is NaN or infinite. Types without such codes have none.
 *
 * @example
 * ```ts
 * import { hasOddValues } from "./value_check.ts";
 * console.assert(hasOddValues("f32", new Uint8Array(Float32Array.of(1, NaN).buffer)));
 * console.assert(!hasOddValues("f32", new Uint8Array(Float32Array.of(1, 3e38).buffer)));
 * ```
 */
export function hasOddValues(dtype: DType, bytes: Uint8Array<ArrayBuffer>): boolean {
  const exponent = EXPONENTS[dtype];
  if (!exponent) return false;
  if (bytes.length < 8 || bytes.byteOffset % exponent.bytes !== 0) {
    return hasOddElement(bytes, exponent);
  }
  // Words hold one to four elements; elements at either end that do not fill a word are checked singly.
  const head = (4 - bytes.byteOffset % 4) % 4;
  const count = (bytes.length - head) >> 2;
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + head, count);
  const tail = head + 4 * count;
  return hasOddWord(words, exponent) ||
    hasOddElement(bytes.subarray(0, head), exponent) ||
    hasOddElement(bytes.subarray(tail), exponent);
}

type Exponent = NonNullable<(typeof EXPONENTS)[DType]>;

function hasOddWord(words: Uint32Array, { bytes, mask }: Exponent): boolean {
  if (bytes === 4) {
    for (let i = 0; i < words.length; i++) if ((words[i] & mask) === mask) return true;
    return false;
  }
  if (bytes === 2) {
    const high = mask << 16;
    for (let i = 0; i < words.length; i++) {
      if ((words[i] & mask) === mask || (words[i] & high) === high) return true;
    }
    return false;
  }
  if (mask === 0x7f) {
    // One more than seven set bits carries into the eighth.
    for (let i = 0; i < words.length; i++) {
      if ((((words[i] & 0x7f7f7f7f) + 0x01010101) & 0x80808080) !== 0) return true;
    }
    return false;
  }
  return hasOddElement(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), {
    bytes,
    mask,
  });
}

function hasOddElement(part: Uint8Array, { bytes, mask }: Exponent): boolean {
  for (let i = 0; i + bytes <= part.length; i += bytes) {
    if ((elementBits(part, i, bytes) & mask) === mask) return true;
  }
  return false;
}

function elementBits(part: Uint8Array, at: number, bytes: number): number {
  let bits = 0;
  for (let i = 0; i < bytes; i++) bits |= part[at + i] << (8 * i);
  return bits;
}

/** Counts them; FP8 has codes for NaN only. */
export function countOddValues(dtype: DType, part: Uint8Array<ArrayBuffer>): OddValues {
  const exponent = EXPONENTS[dtype];
  let [nan, infinite] = [0, 0];
  if (!exponent) return { nan, infinite };
  const { bytes, mask } = exponent;
  const sign = bytes === 4 ? 0x80000000 | 0 : 1 << (8 * bytes - 1);
  for (let i = 0; i + bytes <= part.length; i += bytes) {
    const bits = elementBits(part, i, bytes);
    if ((bits & mask) !== mask) continue;
    if (bytes > 1 && (bits & ~sign) === mask) infinite++;
    else nan++;
  }
  return { nan, infinite };
}

/** Checks every number that is read from a checkpoint. */
export class ValueCheck {
  /** Infinite values of vectors; a router's bias switches experts off with them. */
  readonly #infinite = new Map<
    string,
    { readonly title: string; readonly count: number; readonly of: number }
  >();

  /** Sentences about what was accepted. */
  get findings(): string[] {
    return [...this.#infinite.values()].map(({ title, count, of }) =>
      `Tensor ${title} has ${count} infinite ${count === 1 ? "value" : "values"} of ${of}`
    );
  }

  /**
   * Checks bytes of a tensor; `readInto` reads others, to count what is wrong.
   *
   * @throws {CheckpointError} `checkpoint/not-finite` for NaN, and for infinity in a matrix;
   * `checkpoint/scale` for scales that are not above 0.
   */
  async check(
    info: TensorInfo,
    bytes: Uint8Array<ArrayBuffer>,
    readInto: (byteOffset: number, out: Uint8Array<ArrayBuffer>) => Promise<void>,
  ): Promise<void> {
    if (POSITIVE.test(info.name)) checkPositive(info, bytes);
    const type = numberType(info);
    if (!hasOddValues(type, bytes) || this.#infinite.has(info.name)) return;
    const held = new Uint8Array(Math.min(info.byteLength, PART_BYTES));
    let [nan, infinite] = [0, 0];
    for (let at = 0; at < info.byteLength; at += held.length) {
      const part = held.subarray(0, Math.min(held.length, info.byteLength - at));
      await readInto(at, part);
      const odd = countOddValues(type, part);
      nan += odd.nan;
      infinite += odd.infinite;
    }
    // A range that begins within a number only looked odd.
    if (nan + infinite === 0) return;
    if (nan > 0 || info.shape.length > 1) throw notFinite(info, { nan, infinite });
    const of = elementCount(info.shape);
    this.#infinite.set(info.name, { title: titleOf(info), count: infinite, of });
  }
}

/** Read at once to count. */
const PART_BYTES = 4 * 2 ** 20;

/** Scales that divide activations or weights. */
const POSITIVE = /\.(input_scale|k_scale|v_scale|kv_scale|weight_global_scale)$/;

/** MXFP4's exponents are bytes to safetensors; 255 is NaN. */
function numberType({ name, dtype }: TensorInfo): DType {
  return dtype === "u8" && /(_scales|\.weight_scale)$/.test(name) ? "f8_e8m0" : dtype;
}

function checkPositive({ name, dtype, file }: TensorInfo, bytes: Uint8Array<ArrayBuffer>): void {
  if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16") return;
  const bad = toF32(dtype, bytes).find((value) => !(value > 0));
  if (bad === undefined) return;
  throw new CheckpointError(
    "checkpoint/scale",
    `Cannot load tensor "${name}" of "${fileName(file)}": expected a scale above 0, got ${bad}`,
    {
      hint:
        "Set activation_quant: none to leave activations unrounded, or quantize the model again with more calibration data",
      details: { tensor: name, file, found: bad },
    },
  );
}

/** The name in the file; a view of others is found by theirs. */
function titleOf({ name, madeOf = [name] }: TensorInfo): string {
  return madeOf.map((each) => `"${each}"`).join(" and ");
}

function notFinite(info: TensorInfo, { nan, infinite }: OddValues) {
  const { name, shape, file, madeOf } = info;
  const found = [nan > 0 ? `${nan} NaN` : "", infinite > 0 ? `${infinite} infinite` : ""]
    .filter((each) => each !== "").join(" and ");
  return new CheckpointError(
    "checkpoint/not-finite",
    `Cannot load tensor ${titleOf(info)} of "${
      fileName(file)
    }": expected finite numbers, got ${found} of ${elementCount(shape)}${
      madeOf ? ` in its part "${name}"` : ""
    }`,
    {
      hint:
        "Download the file again; if it stays so, the model was saved after its training failed",
      details: { tensor: name, file, nan, infinite },
    },
  );
}
