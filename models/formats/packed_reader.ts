/**
 * Packed weights, matrix by matrix: real values from codes and scales, and the other way round. The
 * formats themselves are in `graph/formats/packed.ts`.
 *
 * @module
 */

import {
  absMax,
  decodeE8M0,
  decodeValue,
  dependsOnWhole,
  type DequantizeWeight,
  DTYPE_BYTES,
  E4M3_VALUES,
  elementCount,
  GraphError,
  isPacked,
  PACKED_LAYOUTS,
  type PackedFormat,
  type PackedMatrix,
  packedShape,
  quantizeMatrix,
  type QuantizeOptions,
  type QuantizeWeight,
  type Weight,
} from "../../graph/mod.ts";
import { convert, toF32 } from "./convert.ts";
import { largestOfPairs, quantizeBf16 } from "./quantize_bf16.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a packed weight is read through: {@linkcode WeightReader}. */
export interface PartReader {
  read(weight: Weight, first: number, count: number): Promise<Bytes>;
  section(weight: Weight, index: number, make: () => Promise<Bytes>): Promise<Bytes>;
  fill(weight: Weight, first: number, out: Bytes): Promise<void>;
}

/** Elements of a matrix that are decoded or quantized at once: few enough to stay in a core's caches. */
const PART_ELEMENTS = 2 ** 18;

/** Evaluates `dequantize` and `quantize`; a matrix is the last two dimensions of a weight. */
export class PackedReader {
  /** What was quantized last; its memory is used again for what comes next. */
  #quantized: PackedMatrix | undefined;
  /** What rows of which weight those are; undefined when they are not asked for again. */
  #rows: { readonly key: string; readonly of: Weight } | undefined;
  /** The largest magnitude of a whole matrix. */
  #largest: { readonly of: Weight; readonly matrix: number; readonly amax: number } | undefined;

  // Memory that is used again: garbage of this size would pile up faster than it is collected. What is
  // quantized may be made of what is decoded, and the other way round, so each has memory of its own.
  #values = new Float32Array(0);
  #raw: Bytes = new Uint8Array(0);
  #decoded = new Float32Array(0);
  #codes: Bytes = new Uint8Array(0);

  constructor(readonly reader: PartReader) {}

  /** Forgets weights; memory stays for others. */
  forget(): void {
    this.#rows = undefined;
    this.#largest = undefined;
  }

  /** Writes elements `first ..` of the real values to `out`. */
  async dequantize(weight: DequantizeWeight, first: number, out: Bytes): Promise<void> {
    const { columns, elements } = matrixOf(weight.shape);
    const size = DTYPE_BYTES[weight.dtype];
    const end = first + out.length / size;
    for (let at = first; at < end;) {
      const matrix = Math.floor(at / elements);
      const row = Math.floor((at - matrix * elements) / columns);
      const rowStart = matrix * elements + row * columns;
      const stop = Math.min(end, (matrix + 1) * elements);
      const rows = Math.min(
        Math.ceil((stop - rowStart) / columns),
        Math.max(1, Math.floor(PART_ELEMENTS / columns)),
      );
      const values = await this.#decodeRows(weight, matrix, row, rows);
      const until = Math.min(stop, rowStart + rows * columns);
      convert(
        "f32",
        new Uint8Array(values.buffer).subarray(4 * (at - rowStart), 4 * (until - rowStart)),
        weight.dtype,
        out.subarray((at - first) * size, (until - first) * size),
      );
      at = until;
    }
  }

  /** Writes elements `first ..` of the codes or of a scale to `out`. */
  async quantize(weight: QuantizeWeight, first: number, out: Bytes): Promise<void> {
    const { rows, columns } = matrixOf(weight.of.shape);
    const format = packedFormat(weight.format);
    const size = DTYPE_BYTES[weight.dtype];
    const band = bandRows(format, rows, columns, weight.block);
    const shape = packedShape(format, rows, columns, weight.block);
    /** Elements of the component for each row of blocks, and rows of the matrix for each of those. */
    const [width, height] = weight.component === "payload"
      ? [shape.payload[1], 1]
      : [shape.scale[1], shape.block[0]];
    const whole = weight.component === "scale_2";
    const perMatrix = whole ? 1 : Math.ceil(rows / height) * width;
    const end = first + out.length / size;
    for (let at = first; at < end;) {
      const matrix = Math.floor(at / perMatrix);
      const inMatrix = at - matrix * perMatrix;
      const row = whole ? 0 : Math.floor(Math.floor(inMatrix / width) * height / band) * band;
      const made = await this.#quantizeRows(
        weight,
        format,
        matrix,
        row,
        Math.min(rows, row + band),
      );
      const start = matrix * perMatrix + (whole ? 0 : row / height * width);
      const bytes = componentBytes(made, weight.component);
      const stop = Math.min(end, start + bytes.length / size);
      out.set(bytes.subarray((at - start) * size, (stop - start) * size), (at - first) * size);
      at = stop;
    }
  }

  /** Quantizes some rows of a matrix, which are held until others are asked for. */
  async #quantizeRows(
    weight: QuantizeWeight,
    format: PackedFormat,
    matrix: number,
    row: number,
    end: number,
  ): Promise<PackedMatrix> {
    const { of, block } = weight;
    const key = `${format} ${block} ${matrix} ${row}`;
    if (this.#quantized && this.#rows?.key === key && this.#rows.of === of) return this.#quantized;
    const { rows, columns, elements } = matrixOf(of.shape);
    const isPart = end - row < rows && dependsOnWhole(format, rows, columns, block);
    const amax = isPart ? await this.#largestOf(of, matrix) : undefined;
    const first = matrix * elements + row * columns;
    const reuse = this.#quantized;
    this.#rows = undefined;
    const options = { ...(reuse && { reuse }), ...(amax !== undefined && { amax }) };
    this.#quantized = await this.#quantizePart(weight, format, first, end - row, options);
    this.#rows = { key, of };
    return this.#quantized;
  }

  /** Rows from element `first` on: those of bf16 in a fast way, where there is one. */
  async #quantizePart(
    { of, block }: QuantizeWeight,
    format: PackedFormat,
    first: number,
    rows: number,
    options: QuantizeOptions,
  ): Promise<PackedMatrix> {
    const { columns } = matrixOf(of.shape);
    const count = rows * columns;
    if (of.dtype !== "bf16" || columns % 2 !== 0) {
      const values = await this.#readValues(of, first, count);
      return quantizeMatrix(format, values, rows, columns, block, options);
    }
    const pairs = await this.#readPairs(of, first, count);
    const isWhole = options.amax === undefined && dependsOnWhole(format, rows, columns, block);
    const amax = isWhole ? { amax: largestOfPairs(pairs) } : {};
    return quantizeBf16(format, { pairs, rows, columns }, block, { ...options, ...amax }) ??
      quantizeMatrix(format, this.#widened(pairs), rows, columns, block, options);
  }

  /** The largest magnitude of a whole matrix, which is read for it part by part. */
  async #largestOf(of: Weight, matrix: number): Promise<number> {
    if (this.#largest?.of === of && this.#largest.matrix === matrix) return this.#largest.amax;
    const { elements } = matrixOf(of.shape);
    let amax = 0;
    for (let at = 0; at < elements; at += PART_ELEMENTS) {
      const [first, count] = [matrix * elements + at, Math.min(PART_ELEMENTS, elements - at)];
      const most = of.dtype === "bf16" && count % 2 === 0
        ? largestOfPairs(await this.#readPairs(of, first, count))
        : absMax(await this.#readValues(of, first, count));
      amax = Math.max(amax, most);
    }
    this.#largest = { of, matrix, amax };
    return amax;
  }

  /** Elements of a weight as f32, until the next call. */
  async #readValues(weight: Weight, first: number, count: number): Promise<Float32Array> {
    const values = this.#valuesOf(count);
    const target = new Uint8Array(values.buffer, 0, 4 * count);
    if (weight.dtype === "f32") await this.reader.fill(weight, first, target);
    else convert(weight.dtype, await this.#readRaw(weight, first, count), "f32", target);
    return values;
  }

  #widened(pairs: Uint32Array<ArrayBuffer>): Float32Array {
    const values = this.#valuesOf(2 * pairs.length);
    const target = new Uint8Array(values.buffer, 0, 4 * values.length);
    convert("bf16", new Uint8Array(pairs.buffer, 0, 4 * pairs.length), "f32", target);
    return values;
  }

  #valuesOf(count: number): Float32Array<ArrayBuffer> {
    if (this.#values.length < count) this.#values = new Float32Array(count);
    return this.#values.subarray(0, count);
  }

  /** Elements of bf16, an even number, two in a word, until the next call. */
  async #readPairs(weight: Weight, first: number, count: number) {
    const raw = await this.#readRaw(weight, first, count);
    return new Uint32Array(raw.buffer, 0, count / 2);
  }

  async #readRaw(weight: Weight, first: number, count: number): Promise<Bytes> {
    const length = count * DTYPE_BYTES[weight.dtype];
    if (this.#raw.length < length) this.#raw = new Uint8Array(length);
    const raw = this.#raw.subarray(0, length);
    await this.reader.fill(weight, first, raw);
    return raw;
  }

  async #decodeRows(
    weight: DequantizeWeight,
    matrix: number,
    row: number,
    rows: number,
  ): Promise<Float32Array<ArrayBuffer>> {
    const format = packedFormat(weight.format);
    const shape = matrixOf(weight.shape);
    const { codesPerByte, hasOffsets } = PACKED_LAYOUTS[format];
    const { columns } = shape;
    const width = columns / codesPerByte;
    const count = rows * columns;
    if (this.#codes.length < rows * width) this.#codes = new Uint8Array(rows * width);
    const payload = this.#codes.subarray(0, rows * width);
    await this.reader.fill(weight.payload, (matrix * shape.rows + row) * width, payload);
    const { block, scale } = packedShape(format, shape.rows, columns, weight.block);
    const firstBlock = Math.floor(row / block[0]);
    const blocks = Math.ceil((row + rows) / block[0]) - firstBlock;
    const scales = await this.#scales(weight, matrix, scale, [firstBlock, blocks]);
    if (this.#decoded.length < count) this.#decoded = new Float32Array(count);
    const result = this.#decoded.subarray(0, count);
    const table = CODE_VALUES[format];
    const numbers = hasOffsets ? 2 : 1;
    for (let r = 0; r < rows; r++) {
      const scaleStart = (Math.floor((row + r) / block[0]) - firstBlock) * scale[1];
      for (let c = 0; c < columns; c++) {
        const at = r * columns + c;
        const code = codesPerByte === 1
          ? payload[at]
          : (payload[r * width + (c >> 1)] >> (4 * (c & 1))) & 15;
        const place = scaleStart + numbers * Math.floor(c / block[1]);
        result[at] = table[code] * scales[place] + (numbers === 2 ? scales[place + 1] : 0);
      }
    }
    return result;
  }

  /** Factors of some rows of blocks of one matrix; a scale tensor with fewer entries is shared. */
  async #scales(
    weight: DequantizeWeight,
    matrix: number,
    [rows, columns]: readonly [number, number],
    [row, count]: readonly [number, number],
  ): Promise<Float64Array> {
    const [scale, second] = weight.scales;
    const isShared = elementCount(scale.shape) <= rows * columns;
    const first = (isShared ? 0 : matrix * rows * columns) + row * columns;
    const bytes = await this.reader.read(scale, first, count * columns);
    const values = Float64Array.from(scaleValues(packedFormat(weight.format), scale, bytes));
    if (second === undefined) return values;
    const one = elementCount(second.shape) === 1;
    const [factor] = toF32(second.dtype, await this.reader.read(second, one ? 0 : matrix, 1));
    return values.map((value) => value * factor);
  }
}

/** Rows of a matrix that are quantized at once: whole blocks, as many as are held at once. */
export function bandRows(
  format: PackedFormat,
  rows: number,
  columns: number,
  block: QuantizeWeight["block"],
): number {
  const { block: [height] } = packedShape(format, rows, columns, block);
  const unit = height >= rows && dependsOnWhole(format, rows, columns, block) ? 1 : height;
  return Math.min(rows, unit * Math.max(1, Math.floor(PART_ELEMENTS / (unit * columns))));
}

/** Values of all codes of a format. */
const CODE_VALUES = Object.fromEntries(
  Object.entries(PACKED_LAYOUTS).map(([format, { codesPerByte }]) => [
    format,
    Float32Array.from(
      { length: codesPerByte === 1 ? 256 : 16 },
      (_, code) => decodeValue(format as PackedFormat, code),
    ),
  ]),
) as Record<PackedFormat, Float32Array>;

function scaleValues(format: PackedFormat, { dtype }: Weight, bytes: Bytes) {
  if (format === "mxfp4") return Float32Array.from(bytes, decodeE8M0);
  if (dtype === "u8") return Float32Array.from(bytes, (code) => E4M3_VALUES[code]);
  return toF32(dtype, bytes);
}

function componentBytes(matrix: PackedMatrix, component: QuantizeWeight["component"]): Bytes {
  if (component === "payload") return matrix.payload;
  const array = component === "scale" ? matrix.scale : Float32Array.of(matrix.secondScale);
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function packedFormat(format: DequantizeWeight["format"]): PackedFormat {
  if (isPacked(format)) return format;
  throw new GraphError(
    "graph/format",
    `Cannot read a packed weight: expected a format with scales, got "${format}"`,
  );
}

function matrixOf(shape: readonly number[]) {
  const [rows, columns] = shape.length < 2 ? [1, elementCount(shape)] : shape.slice(-2);
  return { rows, columns, elements: rows * columns };
}
