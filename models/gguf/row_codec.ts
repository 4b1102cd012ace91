/**
 * Rows of a GGUF tensor as rows of codes and of scales in a format that kernels keep.
 *
 * Every target holds the source's numbers exactly: codes of four bits fit eight, a scale of 32
 * elements stands twice where the target has one for 16, and an offset of nothing is zero.
 *
 * @module
 */

import { toF32 } from "../formats/convert.ts";
import type { GgufType, PackedGgufType } from "./gguf_types.ts";

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

/** Converts rows of one matrix. */
export class RowCodec {
  readonly #codes: Int8Array;
  readonly #scales: Float32Array;
  readonly #offsets: Float32Array;
  readonly #groups: number;

  constructor(readonly type: GgufType, readonly target: Target, readonly columns: number) {
    this.#groups = columns / (type.packed?.group ?? columns);
    this.#codes = new Int8Array(columns);
    this.#scales = new Float32Array(this.#groups);
    this.#offsets = new Float32Array(this.#groups);
  }

  /** Bytes of a row in the file. */
  get sourceBytes(): number {
    return this.columns / this.type.blockElements * this.type.blockBytes;
  }

  /** Converts the row whose bytes begin at `at` of `raw` to the whole of `out`. */
  convert(raw: Bytes, at: number, component: Component, out: Bytes): void {
    const { plain, packed } = this.type;
    if (plain) {
      // A copy begins where numbers of any size may.
      const values = toF32(plain, raw.slice(at, at + this.sourceBytes));
      return out.set(new Uint8Array(values.buffer));
    }
    if (!packed) throw new TypeError(`${this.type.name} has no codes`);
    if (component === "scales") return this.#writeScales(packed, raw, at, out);
    if (component === "codes") return this.#writeCodes(packed, raw, at, out);
    this.#readCodes(packed, raw, at);
    this.#readScales(packed, raw, at);
    this.#writeValues(out);
  }

  #readCodes({ layout }: PackedGgufType, raw: Uint8Array, at: number): void {
    const { blockElements, blockBytes } = this.type;
    for (let element = 0; element < this.columns; element += blockElements, at += blockBytes) {
      layout.codes(raw, at, this.#codes, element);
    }
  }

  #readScales({ layout, group }: PackedGgufType, raw: Uint8Array, at: number): void {
    const { blockElements, blockBytes } = this.type;
    const step = blockElements / group;
    for (let place = 0; place < this.#groups; place += step, at += blockBytes) {
      layout.scales(raw, at, this.#scales, this.#offsets, place);
    }
  }

  /** Codes of four bits are stored as they stand in the file, those of eight as signed bytes. */
  #writeCodes(packed: PackedGgufType, raw: Bytes, at: number, out: Bytes): void {
    const { nibbles } = packed.layout;
    if (this.target.format.startsWith("int8")) {
      this.#readCodes(packed, raw, at);
      return out.set(new Uint8Array(this.#codes.buffer));
    }
    if (!nibbles) throw new TypeError(`${this.type.name} has no codes of four bits`);
    const { blockElements, blockBytes } = this.type;
    const step = blockElements / 2;
    for (let place = 0; place < out.length; place += step, at += blockBytes) {
      nibbles(raw, at, out, place);
    }
  }

  #writeScales(packed: PackedGgufType, raw: Bytes, at: number, out: Bytes): void {
    this.#readScales(packed, raw, at);
    const [scales, offsets] = [this.#scales, this.#offsets];
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
    // Codes of four bits around zero are stored from zero on where there are offsets.
    const shift = this.target.format === "int4_affine" && !packed.hasOffsets ? 8 : 0;
    for (let group = 0, place = 0; group < this.#groups; group++) {
      for (let i = 0; i < repeats; i++) {
        numbers[place++] = scales[group];
        if (pairs) numbers[place++] = offsets[group] - shift * scales[group];
      }
    }
    out.set(new Uint8Array(numbers.buffer));
  }

  #writeValues(out: Bytes): void {
    const width = this.columns / this.#groups;
    const values = new Float32Array(this.columns);
    for (let i = 0; i < values.length; i++) {
      const group = Math.floor(i / width);
      values[i] = Math.fround(this.#codes[i] * this.#scales[group]) + this.#offsets[group];
    }
    out.set(new Uint8Array(values.buffer));
  }
}
