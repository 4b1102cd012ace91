/**
 * Packed weights, matrix by matrix: real values from codes and scales, and the other way round. The
 * formats themselves are in `graph/formats/packed.ts`.
 *
 * @module
 */

import {
  decodeE8M0,
  decodeValue,
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
  type QuantizeWeight,
  type Weight,
} from "../../graph/mod.ts";
import { convert, toF32 } from "./convert.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What a packed weight is read through: {@linkcode WeightReader}. */
export interface PartReader {
  read(weight: Weight, first: number, count: number): Promise<Bytes>;
  section(weight: Weight, index: number, make: () => Promise<Bytes>): Promise<Bytes>;
  fill(weight: Weight, first: number, out: Bytes): Promise<void>;
}

/** Rows of a matrix that are decoded at once, in elements. */
const PART_ELEMENTS = 2 ** 20;

/** Evaluates `dequantize` and `quantize`; a matrix is the last two dimensions of a weight. */
export class PackedReader {
  #quantized:
    | { readonly key: string; readonly of: Weight; readonly matrix: PackedMatrix }
    | undefined;

  #values = new Float32Array(0);
  #raw: Bytes = new Uint8Array(0);

  constructor(readonly reader: PartReader) {}

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
    const key = `${format} ${weight.block} ${matrix} ${row}`;
    if (this.#quantized?.key === key && this.#quantized.of === weight.of) {
      return this.#quantized.matrix;
    }
    const { columns, elements } = matrixOf(weight.of.shape);
    const count = (end - row) * columns;
    const values = await this.#readValues(weight.of, matrix * elements + row * columns, count);
    const reuse = this.#quantized?.matrix;
    this.#quantized = undefined;
    const made = quantizeMatrix(format, values, end - row, columns, weight.block, reuse);
    this.#quantized = { key, of: weight.of, matrix: made };
    return made;
  }

  /**
   * Elements of a weight as f32, in memory that the next call uses again: garbage of this size would
   * pile up faster than it is collected.
   */
  async #readValues(weight: Weight, first: number, count: number): Promise<Float32Array> {
    if (this.#values.length < count) this.#values = new Float32Array(count);
    const values = this.#values.subarray(0, count);
    const target = new Uint8Array(values.buffer, 0, 4 * count);
    if (weight.dtype === "f32") {
      await this.reader.fill(weight, first, target);
      return values;
    }
    const length = count * DTYPE_BYTES[weight.dtype];
    if (this.#raw.length < length) this.#raw = new Uint8Array(length);
    const raw = this.#raw.subarray(0, length);
    await this.reader.fill(weight, first, raw);
    convert(weight.dtype, raw, "f32", target);
    return values;
  }

  async #decodeRows(
    weight: DequantizeWeight,
    matrix: number,
    row: number,
    rows: number,
  ): Promise<Float32Array<ArrayBuffer>> {
    const format = packedFormat(weight.format);
    const shape = matrixOf(weight.shape);
    const { codesPerByte } = PACKED_LAYOUTS[format];
    const { columns } = shape;
    const width = columns / codesPerByte;
    const payload = await this.reader.read(
      weight.payload,
      (matrix * shape.rows + row) * width,
      rows * width,
    );
    const { block, scale: [scaleRows, scaleColumns] } = packedShape(
      format,
      shape.rows,
      columns,
      weight.block,
    );
    const scales = await this.#scales(weight, matrix, scaleRows * scaleColumns);
    const result = new Float32Array(rows * columns);
    const table = CODE_VALUES[format];
    const numbers = PACKED_LAYOUTS[format].hasOffsets ? 2 : 1;
    for (let r = 0; r < rows; r++) {
      const scaleStart = Math.floor((row + r) / block[0]) * scaleColumns;
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

  /** Factors of the blocks of one matrix; a scale tensor with fewer entries is shared. */
  async #scales(
    weight: DequantizeWeight,
    matrix: number,
    count: number,
  ): Promise<Float64Array> {
    const [scale, second] = weight.scales;
    const bytes = await this.reader.section(scale, matrix, () => {
      const shared = elementCount(scale.shape) <= count;
      return this.reader.read(scale, shared ? 0 : matrix * count, count);
    });
    const values = Float64Array.from(scaleValues(packedFormat(weight.format), scale, bytes));
    if (second === undefined) return values;
    const one = elementCount(second.shape) === 1;
    const [factor] = toF32(second.dtype, await this.reader.read(second, one ? 0 : matrix, 1));
    return values.map((value) => value * factor);
  }
}

/**
 * Rows of a matrix that are quantized at once: whole blocks, about as many elements as are held at
 * once, or all rows where something depends on all of them.
 */
export function bandRows(
  format: PackedFormat,
  rows: number,
  columns: number,
  block: QuantizeWeight["block"],
): number {
  const [height] = packedShape(format, rows, columns, block).block;
  if (PACKED_LAYOUTS[format].secondScale || height >= rows) return rows;
  return Math.min(rows, height * Math.max(1, Math.floor(PART_ELEMENTS / (height * columns))));
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
