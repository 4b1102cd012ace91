/**
 * Tensors that a GGUF file holds in another form, as a checkpoint gives them: by the names of the hub,
 * each expert's matrix by itself, codes and scales apart. Nothing is converted before it is read.
 *
 * @module
 */

import { type DType, DTYPE_BYTES, elementCount } from "../../graph/mod.ts";
import type { TensorFile } from "../checkpoint/checkpoint.ts";
import type { TensorInfo } from "../checkpoint/safetensors.ts";
import { copyOverlap } from "../loading/weight_reader.ts";
import type { GgufTensor } from "./gguf_file.ts";
import { LatentMatrix } from "./latent_matrix.ts";
import { type Component, hasOffsets, rowBytes, RowCodec, type Target } from "./row_codec.ts";

/** Rows of a GGUF tensor that make a matrix. */
export interface Rows {
  readonly tensor: GgufTensor;
  readonly first: number;
  readonly count: number;
  /** The row among them that stands at a place; default the same. */
  readonly order?: (row: number) => number;
}

type Bytes = Uint8Array<ArrayBuffer>;

interface Virtual {
  /** Address of the first byte. */
  readonly start: number;
  readonly byteLength: number;
  readonly rowBytes: number;
  readonly rows: Rows | LatentMatrix;
  readonly codec: RowCodec | undefined;
  readonly component: Component;
}

/** Source bytes that are read and converted at once. */
const SECTION_BYTES = 2 ** 21;

/** A file of converted tensors; addresses are places in what all of them would make up. */
export class VirtualTensors implements TensorFile {
  readonly unreadable = new Map<string, never>();
  readonly tensors = new Map<string, TensorInfo>();
  readonly #list: Virtual[] = [];
  #end = 0;

  constructor(readonly path: string, readonly close: () => Promise<void>) {}

  get reopenPath(): string {
    return this.path;
  }

  /** Bytes of all tensors. */
  get byteLength(): number {
    return this.#end;
  }

  /** Adds a tensor of plain numbers under a name. */
  addPlain(name: string, rows: Rows, shape: readonly number[]): void {
    const { plain } = rows.tensor.type;
    if (!plain) throw new TypeError(`"${name}" is not plain`);
    const bytes = elementCount(shape) * DTYPE_BYTES[plain] / Math.max(rows.count, 1);
    this.#add(name, plain, shape, { rows, rowBytes: bytes, codec: undefined, component: "values" });
  }

  /** Adds the tensors of a matrix: `{module}.weight`, and `{module}.weight_scale` where it is packed. */
  addMatrix(module: string, rows: Rows, columns: number, target: Target): void {
    const { count } = rows;
    const codec = new RowCodec(rows.tensor.type, target, columns);
    const add = (name: string, dtype: DType, width: number, component: Component) =>
      this.#add(`${module}.${name}`, dtype, [count, width], {
        rows,
        rowBytes: rowBytes(target, component, columns),
        codec,
        component,
      });
    const { format, group } = target;
    if (format === "f32") return add("weight", "f32", columns, "values");
    if (format.startsWith("int8")) add("weight", "i8", columns, "codes");
    else add("weight", "u8", columns / 2, "codes");
    const groups = columns / group * (hasOffsets(target) ? 2 : 1);
    add("weight_scale", format === "mxfp4" ? "u8" : "f32", groups, "scales");
  }

  /** Adds a matrix that two tensors make up, in f32. */
  addLatent(name: string, matrix: LatentMatrix): void {
    const { rows, columns } = matrix;
    const layout = { rowBytes: 4 * columns, codec: undefined, component: "values" as const };
    this.#add(name, "f32", [rows, columns], { ...layout, rows: matrix });
  }

  /** Fills `out` with the bytes from an address on, which lie within one tensor. */
  async readInto(address: number, out: Bytes): Promise<void> {
    if (out.length === 0) return;
    const virtual = this.#find(address);
    const start = address - virtual.start;
    const end = start + out.length;
    for (let row = Math.floor(start / virtual.rowBytes); row * virtual.rowBytes < end;) {
      const count = this.#runOf(virtual, row, Math.ceil(end / virtual.rowBytes));
      const bytes = await this.#readRows(virtual, row, count);
      copyOverlap(bytes, row * virtual.rowBytes - start, out);
      row += count;
    }
  }

  #add(
    name: string,
    dtype: DType,
    shape: readonly number[],
    virtual: Omit<Virtual, "start" | "byteLength">,
  ): void {
    const byteLength = elementCount(shape) * DTYPE_BYTES[dtype];
    const start = this.#end;
    this.#end += byteLength;
    this.#list.push({ ...virtual, start, byteLength });
    const place = { file: this.path, byteOffset: start, byteLength };
    this.tensors.set(name, { name, dtype, shape, ...place, madeOf: sourcesOf(virtual) });
  }

  #find(address: number): Virtual {
    let [low, high] = [0, this.#list.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#list[middle].start <= address) low = middle;
      else high = middle - 1;
    }
    // Empty tensors share an address with the next one; their reads never come here.
    return this.#list[low];
  }

  /** Rows from one on that lie one after the other in the file, up to `until`. */
  #runOf({ rows, codec, rowBytes }: Virtual, row: number, until: number): number {
    if (rows instanceof LatentMatrix) return 1;
    const size = codec?.sourceBytes ?? rowBytes;
    const most = Math.min(until - row, Math.max(1, Math.floor(SECTION_BYTES / size)));
    const { order } = rows;
    if (!order) return most;
    const first = order(row);
    let count = 1;
    while (count < most && order(row + count) === first + count) count++;
    return count;
  }

  async #readRows({ rows, codec, rowBytes, component }: Virtual, row: number, count: number) {
    if (rows instanceof LatentMatrix) return await rows.row(row);
    const { tensor, first, order } = rows;
    const size = codec?.sourceBytes ?? rowBytes;
    const source = first + (order?.(row) ?? row);
    const raw = new Uint8Array(count * size);
    await tensor.file.readInto(tensor.byteOffset + source * size, raw);
    if (!codec) return raw;
    const bytes = new Uint8Array(count * rowBytes);
    for (let i = 0; i < count; i++) {
      codec.convert(raw, i * size, component, bytes.subarray(i * rowBytes, (i + 1) * rowBytes));
    }
    return bytes;
  }
}

function sourcesOf({ rows }: Pick<Virtual, "rows">): string[] {
  return (rows instanceof LatentMatrix ? [rows.keys, rows.values] : [rows.tensor])
    .map(({ name }) => name);
}
