/**
 * DeepSeek's `kv_b_proj` from the two tensors that llama.cpp's converter makes of it: for each head
 * `attn_k_b` [latent, keys], which is transposed, and `attn_v_b` [values, latent].
 *
 * @module
 */

import type { GgufTensor } from "./gguf_file.ts";
import { RowCodec } from "./row_codec.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Rows of the matrix [heads · (keys + values), latent] in f32: keys of a head, then its values. */
export class LatentMatrix {
  readonly #keyDim: number;
  readonly #valueDim: number;
  #held: { readonly head: number; readonly values: Float32Array } | undefined;

  constructor(readonly keys: GgufTensor, readonly values: GgufTensor) {
    this.#keyDim = keys.shape[2];
    this.#valueDim = values.shape[1];
  }

  get rows(): number {
    return this.keys.shape[0] * (this.#keyDim + this.#valueDim);
  }

  get columns(): number {
    return this.values.shape[2];
  }

  /** One row. */
  async row(index: number): Promise<Bytes> {
    const perHead = this.#keyDim + this.#valueDim;
    const [head, place] = [Math.floor(index / perHead), index % perHead];
    if (place >= this.#keyDim) {
      const row = head * this.#valueDim + place - this.#keyDim;
      const values = await readValues(this.values, row, 1);
      return new Uint8Array(values.buffer);
    }
    const keys = await this.#keysOf(head);
    const row = Float32Array.from(
      { length: this.columns },
      (_, column) => keys[column * this.#keyDim + place],
    );
    return new Uint8Array(row.buffer);
  }

  /** [latent, keys] of a head; rows of it are asked for one after the other. */
  async #keysOf(head: number): Promise<Float32Array> {
    if (this.#held?.head !== head) {
      const values = await readValues(this.keys, head * this.columns, this.columns);
      this.#held = { head, values };
    }
    return this.#held?.values ?? new Float32Array();
  }
}

async function readValues(tensor: GgufTensor, first: number, rows: number) {
  const columns = tensor.shape[2];
  const codec = new RowCodec(tensor.type, { format: "f32", group: 32 }, columns);
  const raw = new Uint8Array(rows * codec.sourceBytes);
  await tensor.file.readInto(tensor.byteOffset + first * codec.sourceBytes, raw);
  const out = new Uint8Array(4 * rows * columns);
  for (let row = 0; row < rows; row++) {
    const part = out.subarray(4 * row * columns, 4 * (row + 1) * columns);
    codec.convert(raw, row * codec.sourceBytes, "values", part);
  }
  return new Float32Array(out.buffer);
}
