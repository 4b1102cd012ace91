/**
 * Rows of weight matrices as f32. A weight stays in its checkpoint's type; only the row at hand is
 * decoded, so that a model needs no more memory than its file and unused experts cost nothing.
 *
 * @module
 */

import {
  dequantizeRow,
  E4M3_VALUES,
  type HostTensor,
  invariant,
  isPacked,
  KernelError,
  PACKED_LAYOUTS,
  type PackedFormat,
  type PackedMatrix,
  type WeightFormat,
} from "../../graph/mod.ts";
import { floats, numbers } from "./numbers.ts";

/** Reads rows of a matrix, one at a time. */
export interface RowReader {
  readonly columns: number;
  /** Holds the loaded row from the offset that {@linkcode load} returned; overwritten by the next. */
  readonly values: Float32Array<ArrayBuffer>;
  /** Makes a row readable; returns where it starts in `values`. */
  load(row: number): number;
}

/** Rows of a tensor `[.., columns]` of a plain element type; leading dimensions count as rows. */
export function plainRows(weight: HostTensor): RowReader {
  const { data, dtype, shape } = weight;
  const columns = shape[shape.length - 1];
  if (data instanceof Float32Array) return { columns, values: data, load: (row) => row * columns };
  const values = new Float32Array(columns);
  const decoded = (load: (start: number) => void): RowReader => ({
    columns,
    values,
    load(row) {
      load(row * columns);
      return 0;
    },
  });
  if (data instanceof Uint16Array) {
    // bf16 is the upper half of an f32.
    const bits = new Uint32Array(values.buffer);
    return decoded((start) => {
      for (let i = 0; i < columns; i++) bits[i] = data[start + i] << 16;
    });
  }
  if (dtype === "f8_e4m3" && data instanceof Uint8Array) {
    return decoded((start) => {
      for (let i = 0; i < columns; i++) values[i] = E4M3_VALUES[data[start + i]];
    });
  }
  if (data instanceof Float16Array) {
    return decoded((start) => {
      for (let i = 0; i < columns; i++) values[i] = data[start + i];
    });
  }
  throw new KernelError(
    "kernel/weight-type",
    `Cannot read rows of a weight: expected a floating-point type, got ${dtype}`,
    { hint: "Packed formats go through fused_moe with their scales" },
  );
}

/** Stacked matrices `[matrices, rows, columns]` in any weight format, with their scales. */
export interface StackedMatrices {
  readonly format: WeightFormat;
  readonly matrices: number;
  /** Rows of one matrix; its scales start anew. */
  readonly rows: number;
  /** Elements of a row, which the payload of a 4-bit format does not show. */
  readonly columns: number;
  /** Rows and columns that share a scale; 0 or absent means the format's default. */
  readonly block?: readonly [number, number];
  readonly payload: HostTensor;
  readonly scale?: HostTensor;
  /** nvfp4: one factor for every matrix. */
  readonly secondScale?: HostTensor;
}

/** Rows of stacked matrices; row `r` of matrix `m` is row `m * rows + r`. */
export function stackedRows(weight: StackedMatrices): RowReader {
  const { format, columns, payload } = weight;
  if (isPacked(format)) return packedRows(weight, format);
  invariant(
    payload.dtype === format && payload.shape[payload.shape.length - 1] === columns,
    `weight of format ${format} is ${payload.dtype}[${payload.shape}] instead of [.., ${columns}]`,
  );
  return plainRows(payload);
}

function packedRows(weight: StackedMatrices, format: PackedFormat): RowReader {
  const { columns, rows, block } = weight;
  const values = new Float32Array(columns);
  const matrices = Array.from({ length: weight.matrices }, (_, m) => packedMatrix(weight, m));
  return {
    columns,
    values,
    load(row) {
      const matrix = Math.floor(row / rows);
      dequantizeRow(format, matrices[matrix], rows, columns, row % rows, values, block);
      return 0;
    },
  };
}

function packedMatrix(weight: StackedMatrices, index: number): PackedMatrix {
  const { format, matrices, payload, scale, secondScale } = weight;
  if (!scale || !isPacked(format)) {
    throw new KernelError(
      "kernel/missing-scale",
      `Cannot read weights of format "${format}": expected a scale tensor, got none`,
    );
  }
  const codes = payload.data;
  const bytes = new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength);
  return {
    payload: part(bytes, index, matrices),
    scale: part(scaleCodes(scale, format), index, matrices),
    secondScale: secondScale ? part(floats(secondScale), index, matrices)[0] : 1,
  };
}

function scaleCodes(scale: HostTensor, format: PackedFormat) {
  if (PACKED_LAYOUTS[format].scaleDtype === "f32") return floats(scale);
  const codes = numbers({ ...scale, dtype: "u8" });
  invariant(codes instanceof Uint8Array, `scales of ${format} are ${scale.dtype}`);
  return codes;
}

/** One of `count` equal parts of an array; the whole array when it has a single element. */
function part<Codes extends Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(
  codes: Codes,
  index: number,
  count: number,
): Codes {
  if (codes.length === 1) return codes;
  const size = codes.length / count;
  return codes.subarray(index * size, (index + 1) * size) as Codes;
}
