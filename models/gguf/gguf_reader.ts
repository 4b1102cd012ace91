/**
 * Reads the numbers, texts and values of a GGUF header from bytes in memory.
 *
 * @module
 */

/** A value of the metadata. */
export type GgufValue = number | string | boolean | readonly GgufValue[];

/** The header goes on beyond the bytes that were read. */
export class NeedsMoreBytes extends Error {}

/** Deeper arrays are refused; files have one level. */
const MOST_DEPTH = 4;

/** Reads forwards; raises {@linkcode NeedsMoreBytes} at the end. */
export class GgufReader {
  #at = 0;
  readonly #view: DataView;
  readonly #decoder = new TextDecoder();

  constructor(
    readonly bytes: Uint8Array<ArrayBuffer>,
    /** The error of what is malformed. */
    readonly malformed: (expected: string, got: string) => Error,
  ) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Bytes that were read. */
  get at(): number {
    return this.#at;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** A count or an offset. */
  u64(): number {
    const value = Number(this.#view.getBigUint64(this.#take(8), true));
    if (Number.isSafeInteger(value)) return value;
    throw this.malformed("numbers below 2⁵³", String(value));
  }

  string(): string {
    return this.text(this.u64());
  }

  /** Text of so many bytes. */
  text(length: number): string {
    const start = this.#take(length);
    return this.#decoder.decode(this.bytes.subarray(start, start + length));
  }

  /** A type and a value of it. */
  value(): GgufValue {
    return this.#valueOf(this.u32(), 0);
  }

  #valueOf(type: number, depth: number): GgufValue {
    switch (type) {
      case 0:
        return this.#view.getUint8(this.#take(1));
      case 1:
        return this.#view.getInt8(this.#take(1));
      case 2:
        return this.#view.getUint16(this.#take(2), true);
      case 3:
        return this.#view.getInt16(this.#take(2), true);
      case 4:
        return this.u32();
      case 5:
        return this.#view.getInt32(this.#take(4), true);
      case 6:
        return this.#view.getFloat32(this.#take(4), true);
      case 7:
        return this.#view.getUint8(this.#take(1)) !== 0;
      case 8:
        return this.string();
      case 9:
        return this.#array(depth);
      case 10:
        return Number(this.#view.getBigUint64(this.#take(8), true));
      case 11:
        return Number(this.#view.getBigInt64(this.#take(8), true));
      case 12:
        return this.#view.getFloat64(this.#take(8), true);
      default:
        throw this.malformed("types of values from 0 to 12", String(type));
    }
  }

  #array(depth: number): GgufValue[] {
    if (depth >= MOST_DEPTH) throw this.malformed(`at most ${MOST_DEPTH} arrays in arrays`, "more");
    const [type, length] = [this.u32(), this.u64()];
    const values: GgufValue[] = [];
    for (let i = 0; i < length; i++) values.push(this.#valueOf(type, depth + 1));
    return values;
  }

  #take(length: number): number {
    const start = this.#at;
    if (length > this.bytes.length - start) throw new NeedsMoreBytes();
    this.#at += length;
    return start;
  }
}
