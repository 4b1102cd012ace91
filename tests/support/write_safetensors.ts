/**
 * Safetensors files made in memory, sound or not.
 *
 * @module
 */

/** A tensor to write: its type by safetensors' name, its shape, its bytes. */
export interface TensorToWrite {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** Entry of a header. */
export interface HeaderEntry {
  dtype: string;
  shape: readonly number[];
  data_offsets: [number, number];
}

/** A safetensors file; `spoil` may change the header before it is written. */
export function encodeSafetensors(
  tensors: Readonly<Record<string, TensorToWrite>>,
  spoil: (header: Record<string, HeaderEntry>) => void = () => {},
): Uint8Array<ArrayBuffer> {
  const header: Record<string, HeaderEntry> = {};
  let end = 0;
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [end, end + data.length] };
    end += data.length;
  }
  spoil(header);
  const parts = Object.values(tensors).map(({ data }) => data);
  return joinFile(JSON.stringify(header), parts);
}

/** A file with any text as its header. */
export function joinFile(header: string, parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(header);
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(text.length), true);
  const file = new Uint8Array(
    [length, text, ...parts].reduce((sum, { length }) => sum + length, 0),
  );
  let at = 0;
  for (const part of [length, text, ...parts]) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}
