/**
 * Random access into weight expressions: any range of elements of any expression, read into a
 * buffer of the caller.
 *
 * @module
 */

import {
  type CastWeight,
  type ConcatWeight,
  type DequantizeWeight,
  DTYPE_BYTES,
  elementCount,
  type QuantizeWeight,
  type ReinterpretWeight,
  type SliceWeight,
  type TensorSource,
  type TransposeWeight,
  type Weight,
} from "../../graph/mod.ts";
import { convert, toF32 } from "../formats/convert.ts";
import { IntegerReader } from "../formats/integer_reader.ts";
import { PackedReader } from "../formats/packed_reader.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Default of the source bytes that are held to pick scattered elements from, or to convert. */
const SECTION_BYTES = 2 ** 20;

/** Reads ranges of weight expressions; keeps at most one section (such as one expert) of each. */
export class WeightReader {
  readonly #sections = new Map<Weight, { readonly index: number; readonly bytes: Bytes }>();
  readonly #packed = new PackedReader(this);
  #integers = new IntegerReader(this);

  constructor(readonly source: TensorSource, readonly sectionBytes = SECTION_BYTES) {}

  /** Forgets what was read, but for memory that other weights can use. */
  forget(): void {
    this.#sections.clear();
    this.#packed.forget();
    this.#integers = new IntegerReader(this);
  }

  /** Writes elements `first ..` of a weight to `out`, which holds a whole number of them. */
  async fill(weight: Weight, first: number, out: Bytes): Promise<void> {
    if (out.length === 0) return;
    switch (weight.kind) {
      case "tensor": {
        const start = first * DTYPE_BYTES[weight.dtype];
        if (this.source.readInto) await this.source.readInto(weight.name, start, out);
        else out.set(await this.source.read(weight.name, start, out.length));
        return;
      }
      case "constant": {
        const { buffer, byteOffset } = weight.data;
        out.set(new Uint8Array(buffer, byteOffset + 4 * first, out.length));
        return;
      }
      case "stack":
        return await this.#fillParts(weight.parts, first, out);
      case "concat":
        return elementCount(weight.shape.slice(0, weight.dim)) === 1
          ? await this.#fillParts(weight.parts, first, out)
          : await this.#fillSideBySide(weight, first, out);
      case "reshape":
        return await this.fill(weight.of, first, out);
      case "slice":
        return await this.#fillSlice(weight, first, out);
      case "transpose":
        return await this.#fillTransposed(weight, first, out);
      case "cast":
        return await this.#fillCast(weight, first, out);
      case "dequantize":
        return await this.#packed.dequantize(weight satisfies DequantizeWeight, first, out);
      case "quantize":
        return await this.#packed.quantize(weight satisfies QuantizeWeight, first, out);
      case "reinterpret":
        return await this.#fillReinterpreted(weight, first, out);
      case "reciprocal":
        return await this.#fillNumbers(weight.of, first, out, (value) => 1 / value);
      case "scaled":
        return await this.#fillNumbers(weight.of, first, out, (value) => value * weight.factor);
      case "shifted":
        return await this.#fillNumbers(weight.of, first, out, (value) => value + weight.by);
      case "unpack":
      case "affine_scales":
      case "grouped":
      case "checked":
        return await this.#integers.fill(weight, first, out);
    }
  }

  /** Elements `first .. first + count` of a weight in a buffer of their own. */
  async read(weight: Weight, first: number, count: number): Promise<Bytes> {
    const bytes = new Uint8Array(count * DTYPE_BYTES[weight.dtype]);
    await this.fill(weight, first, bytes);
    return bytes;
  }

  /** Section `index` of an expression, made by `make` unless it is the one held already. */
  async section(weight: Weight, index: number, make: () => Promise<Bytes>): Promise<Bytes> {
    const held = this.#sections.get(weight);
    if (held?.index === index) return held.bytes;
    this.#sections.delete(weight); // free before the next one is made
    const bytes = await make();
    this.#sections.set(weight, { index, bytes });
    return bytes;
  }

  /** Parts one after the other in memory. */
  async #fillParts(parts: readonly Weight[], first: number, out: Bytes): Promise<void> {
    const size = DTYPE_BYTES[parts[0].dtype];
    const end = first + out.length / size;
    let start = 0;
    for (const part of parts) {
      const stop = start + elementCount(part.shape);
      const [from, to] = [Math.max(first, start), Math.min(end, stop)];
      if (from < to) {
        await this.fill(
          part,
          from - start,
          out.subarray((from - first) * size, (to - first) * size),
        );
      }
      if (stop >= end) return;
      start = stop;
    }
  }

  /** Concatenation along an inner dimension: rows of the parts alternate. */
  async #fillSideBySide(weight: ConcatWeight, first: number, out: Bytes): Promise<void> {
    const size = DTYPE_BYTES[weight.dtype];
    const inner = elementCount(weight.shape.slice(weight.dim + 1)) * size;
    const width = weight.shape[weight.dim] * inner;
    const end = first * size + out.length;
    const rowsHeld = Math.max(1, Math.floor(this.sectionBytes / width));
    for (let row = Math.floor(first * size / width); row * width < end; row += rowsHeld) {
      const rows = Math.min(rowsHeld, Math.ceil(end / width) - row);
      let column = 0;
      for (const part of weight.parts) {
        const wide = part.shape[weight.dim] * inner;
        const bytes = await this.read(part, row * wide / size, rows * wide / size);
        for (let r = 0; r < rows; r++) {
          const at = (row + r) * width + column - first * size;
          copyOverlap(bytes.subarray(r * wide, (r + 1) * wide), at, out);
        }
        column += wide;
      }
    }
  }

  /** The slice is a list of runs, each contiguous in what is sliced. */
  async #fillSlice(weight: SliceWeight, first: number, out: Bytes): Promise<void> {
    const { of, dim, start, step } = weight;
    const size = DTYPE_BYTES[weight.dtype];
    const inner = elementCount(of.shape.slice(dim + 1));
    const kept = weight.shape[dim];
    const run = step === 1 ? kept * inner : inner;
    const runsOfRow = step === 1 ? 1 : kept;
    /** Element of the sliced weight at which a run begins. */
    const startOfRun = (index: number) => {
      const [row, i] = [Math.floor(index / runsOfRow), index % runsOfRow];
      return (row * of.shape[dim] + start + i * step) * inner;
    };
    const end = first + out.length / size;
    const runs = Math.ceil(end / run);
    for (let index = Math.floor(first / run); index < runs;) {
      const place = startOfRun(index);
      let last = index; // the last run that the same section of the source holds
      while (last + 1 < runs && (startOfRun(last + 1) + run - place) * size <= this.sectionBytes) {
        last++;
      }
      if (last === index) {
        const [from, to] = [Math.max(first, index * run), Math.min(end, (index + 1) * run)];
        const target = out.subarray((from - first) * size, (to - first) * size);
        await this.fill(of, place + from - index * run, target);
      } else {
        const bytes = await this.read(of, place, startOfRun(last) + run - place);
        for (let i = index; i <= last; i++) {
          const at = (startOfRun(i) - place) * size;
          copyOverlap(bytes.subarray(at, at + run * size), (i * run - first) * size, out);
        }
      }
      index = last + 1;
    }
  }

  /** Holds the sub-tensor under the outer one of the two dimensions. */
  async #fillTransposed(weight: TransposeWeight, first: number, out: Bytes): Promise<void> {
    const size = DTYPE_BYTES[weight.dtype];
    const [a, b] = weight.dims.toSorted((p, q) => p - q);
    const count = elementCount(weight.shape.slice(a));
    const end = first + out.length / size;
    for (let index = Math.floor(first / count); index * count < end; index++) {
      const bytes = await this.section(weight, index, async () => {
        const whole = await this.read(weight.of, index * count, count);
        return transposed(whole, weight.of.shape.slice(a), b - a, size);
      });
      copyOverlap(bytes, (index * count - first) * size, out);
    }
  }

  /** An element may be wider in what is read: whole ones are read, and what was asked for is cut out. */
  async #fillReinterpreted({ of, dtype }: ReinterpretWeight, first: number, out: Bytes) {
    const [from, to] = [DTYPE_BYTES[of.dtype], DTYPE_BYTES[dtype]];
    const start = first * to;
    const [begin, end] = [Math.floor(start / from), Math.ceil((start + out.length) / from)];
    if (begin * from === start && end * from === start + out.length) {
      return await this.fill(of, begin, out);
    }
    const bytes = await this.read(of, begin, end - begin);
    out.set(bytes.subarray(start - begin * from, start - begin * from + out.length));
  }

  async #fillNumbers(of: Weight, first: number, out: Bytes, make: (value: number) => number) {
    const values = toF32(of.dtype, await this.read(of, first, out.length / 4));
    out.set(new Uint8Array(values.map(make).buffer));
  }

  async #fillCast(weight: CastWeight, first: number, out: Bytes): Promise<void> {
    const [from, to] = [DTYPE_BYTES[weight.of.dtype], DTYPE_BYTES[weight.dtype]];
    const count = out.length / to;
    const step = Math.max(1, Math.floor(this.sectionBytes / from));
    for (let done = 0; done < count; done += step) {
      const some = Math.min(step, count - done);
      const bytes = await this.read(weight.of, first + done, some);
      convert(weight.of.dtype, bytes, weight.dtype, out.subarray(done * to, (done + some) * to));
    }
  }
}

/** Copies what of `bytes`, placed at `at` (which may be negative), lies within `out`. */
export function copyOverlap(bytes: Uint8Array, at: number, out: Uint8Array): void {
  const from = Math.max(0, -at);
  const to = Math.min(bytes.length, out.length - at);
  if (from < to) out.set(bytes.subarray(from, to), at + from);
}

/** Dimensions 0 and `b` of a tensor exchanged; elements of `size` bytes. */
function transposed(bytes: Bytes, shape: readonly number[], b: number, size: number): Bytes {
  if (b === 0) return bytes;
  const [rows, columns] = [shape[0], shape[b]];
  const middle = elementCount(shape.slice(1, b));
  const inner = elementCount(shape.slice(b + 1));
  const [from, result] = elementsOf(bytes, size);
  let to = 0;
  for (let j = 0; j < columns; j++) {
    for (let m = 0; m < middle; m++) {
      for (let i = 0; i < rows; i++) {
        const start = ((i * middle + m) * columns + j) * inner;
        for (let n = 0; n < inner; n++) result[to++] = from[start + n];
      }
    }
  }
  return new Uint8Array(result.buffer);
}

/** The elements as integers of their size, and room for as many. */
function elementsOf(bytes: Bytes, size: number) {
  const { buffer, byteOffset } = bytes;
  const count = bytes.length / size;
  switch (size) {
    case 1:
      return [bytes, new Uint8Array(count)] as const;
    case 2:
      return [new Uint16Array(buffer, byteOffset, count), new Uint16Array(count)] as const;
    case 4:
      return [new Uint32Array(buffer, byteOffset, count), new Uint32Array(count)] as const;
    default:
      return [new Float64Array(buffer, byteOffset, count), new Float64Array(count)] as const;
  }
}
