/**
 * GGUF files made in memory.
 *
 * @module
 */

/**
 * A value of the metadata: whole numbers are written as u32, others and `{ float }` as f32, lists by their
 * first item.
 */
export type MetadataValue =
  | number
  | string
  | boolean
  | { readonly float: number }
  | readonly (number | string | boolean)[];

/** A tensor to write: the number of its type, its shape (outermost first), its bytes. */
export interface GgufTensorToWrite {
  readonly type: number;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

const ALIGNMENT = 32;

/** A GGUF file of version 3. */
export function encodeGguf(
  metadata: Readonly<Record<string, MetadataValue>>,
  tensors: Readonly<Record<string, GgufTensorToWrite>>,
): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  writer.bytes(new TextEncoder().encode("GGUF"));
  writer.u32(3);
  writer.u64(Object.keys(tensors).length);
  writer.u64(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) {
    writer.text(key);
    writer.value(value);
  }
  let offset = 0;
  for (const [name, { type, shape, data }] of Object.entries(tensors)) {
    writer.text(name);
    writer.u32(shape.length);
    for (const size of shape.toReversed()) writer.u64(size);
    writer.u32(type);
    writer.u64(offset);
    offset += padded(data.length);
  }
  writer.pad();
  for (const { data } of Object.values(tensors)) {
    writer.bytes(data);
    writer.pad();
  }
  return writer.take();
}

function padded(length: number): number {
  return Math.ceil(length / ALIGNMENT) * ALIGNMENT;
}

class Writer {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  bytes(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#length += bytes.length;
  }

  u32(value: number): void {
    this.bytes(new Uint8Array(Uint32Array.of(value).buffer));
  }

  u64(value: number): void {
    this.bytes(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  }

  text(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    this.bytes(bytes);
  }

  value(value: MetadataValue): void {
    if (typeof value === "object" && "float" in value) {
      this.u32(6);
      this.#plain(value.float, 6);
    } else if (typeof value === "object") {
      this.u32(9);
      this.u32(typeOf(value[0] ?? 0));
      this.u64(value.length);
      value.forEach((each) => this.#plain(each, typeOf(value[0])));
    } else {
      this.u32(typeOf(value));
      this.#plain(value, typeOf(value));
    }
  }

  pad(): void {
    this.bytes(new Uint8Array(padded(this.#length) - this.#length));
  }

  take(): Uint8Array<ArrayBuffer> {
    const file = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      file.set(part, at);
      at += part.length;
    }
    return file;
  }

  #plain(value: number | string | boolean, type: number): void {
    if (type === 8) this.text(String(value));
    else if (type === 7) this.bytes(Uint8Array.of(Number(value)));
    else if (type === 6) this.bytes(new Uint8Array(Float32Array.of(Number(value)).buffer));
    else this.u32(Number(value));
  }
}

function typeOf(value: number | string | boolean): number {
  if (typeof value === "string") return 8;
  if (typeof value === "boolean") return 7;
  return Number.isInteger(value) && value >= 0 ? 4 : 6;
}
