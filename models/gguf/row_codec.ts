/**
 * Rows of a GGUF tensor as rows of codes and of scales in a format that kernels keep.
 *
 * Every target holds the source's numbers exactly: codes of four bits fit eight, a scale of 32
 * elements stands twice where the target has one for 16, and an offset of nothing is zero.
 *
 * @module
 */

import { toF32 } from "../formats/convert.ts";
import type { DecodedBlock } from "./block_codes.ts";
import type { GgufType } from "./gguf_types.ts";

/** Formats that GGUF's packed types become; f32 where a layer mixes them with plain numbers. */
export type TargetFormat = "int4" | "int8" | "int4_affine" | "int8_affine" | "mxfp4" | "f32";

/** How the rows of a matrix are stored in memory. */
export interface Target {
  readonly format: TargetFormat;
  /** Columns that share a scale. */
  readonly group: 16 | 32;
}

/** What is read of a matrix. */
export type Component = "codes" | "scales" | "values";

type Bytes = Uint8Array<ArrayBuffer>;

/** Whether a format has an offset beside each scale. */
export function hasOffsets({ format }: Target): boolean {
  return format === "int4_affine" || format === "int8_affine";
}

/** Bytes of one row of a component. */
export function rowBytes(target: Target, component: Component, columns: number): number {
  if (component === "values") return 4 * columns;
  const groups = columns / target.group;
  if (component === "scales") {
    return target.format === "mxfp4" ? groups : groups * (hasOffsets(target) ? 8 : 4);
  }
  return target.format.startsWith("int8") ? columns : columns / 2;
}

/** Nibbles of E2M1 by their doubled values, from -12 on. */
const E2M1_CODES = Uint8Array.from({ length: 25 }, (_, i) => {
  const code = [0, 1, 2, 3, 4, 6, 8, 12].indexOf(Math.abs(i - 12));
  return code < 0 ? 0 : i < 12 ? code | 8 : code;
});

/** Converts rows of one matrix. */
export class RowCodec {
  readonly #decoded: DecodedBlock;
  readonly #groups: number;

  constructor(readonly type: GgufType, readonly target: Target, readonly columns: number) {
    this.#groups = columns / (type.packed?.group ?? columns);
    this.#decoded = {
      codes: new Int8Array(columns),
      scales: new Float32Array(this.#groups),
      offsets: new Float32Array(this.#groups),
    };
  }

  /** Bytes of a row in the file. */
  get sourceBytes(): number {
    return this.columns / this.type.blockElements * this.type.blockBytes;
  }

  /** Converts the row whose bytes begin at `at` of `raw` to the whole of `out`. */
  convert(raw: Bytes, at: number, component: Component, out: Bytes): void {
    const { plain } = this.type;
    if (plain) {
      // A copy begins where numbers of any size may.
      const values = toF32(plain, raw.slice(at, at + this.sourceBytes));
      return out.set(new Uint8Array(values.buffer));
    }
    this.#decode(raw, at);
    if (component === "codes") this.#writeCodes(out);
    else if (component === "scales") this.#writeScales(out);
    else this.#writeValues(out);
  }

  #decode(raw: Uint8Array, at: number): void {
    const { type: { packed, blockElements, blockBytes }, columns } = this;
    if (!packed) throw new TypeError(`${this.type.name} has no codes`);
    const groups = blockElements / packed.group;
    for (let block = 0; block * blockElements < columns; block++) {
      packed.decode(
        raw,
        at + block * blockBytes,
        this.#decoded,
        block * blockElements,
        block * groups,
      );
    }
  }

  /** What is added to a code before it is stored: int4 counts from -8, unsigned formats from 0. */
  get #shift(): number {
    if (this.target.format === "int4") return 8;
    const isSigned = this.type.packed?.codes === "4bit" && !this.type.packed.hasOffsets;
    return this.target.format === "int4_affine" && isSigned ? 8 : 0;
  }

  #writeCodes(out: Bytes): void {
    const { codes } = this.#decoded;
    const { format } = this.target;
    if (format === "int8" || format === "int8_affine") {
      out.set(new Uint8Array(codes.buffer));
      return;
    }
    const shift = this.#shift;
    for (let i = 0, c = 0; i < out.length; i++, c += 2) {
      out[i] = format === "mxfp4"
        ? E2M1_CODES[codes[c] + 12] | (E2M1_CODES[codes[c + 1] + 12] << 4)
        : (codes[c] + shift) | ((codes[c + 1] + shift) << 4);
    }
  }

  #writeScales(out: Bytes): void {
    const { scales, offsets } = this.#decoded;
    if (this.target.format === "mxfp4") {
      // The scale of doubled codes is half of E8M0's.
      for (let i = 0; i < out.length; i++) {
        out[i] = Number.isNaN(scales[i]) ? 255 : Math.log2(scales[i]) + 128;
      }
      return;
    }
    const repeats = this.columns / this.target.group / this.#groups;
    const pairs = hasOffsets(this.target);
    const numbers = new Float32Array(out.length / 4);
    const shift = this.#shift;
    for (let i = 0; i < numbers.length; i++) {
      const group = Math.floor((pairs ? i >> 1 : i) / repeats);
      const isOffset = pairs && i % 2 === 1;
      numbers[i] = isOffset ? offsets[group] - shift * scales[group] : scales[group];
    }
    out.set(new Uint8Array(numbers.buffer));
  }

  #writeValues(out: Bytes): void {
    const { codes, scales, offsets } = this.#decoded;
    const width = this.columns / this.#groups;
    const values = new Float32Array(this.columns);
    for (let i = 0; i < values.length; i++) {
      const group = Math.floor(i / width);
      values[i] = Math.fround(codes[i] * scales[group]) + offsets[group];
    }
    out.set(new Uint8Array(values.buffer));
  }
}
