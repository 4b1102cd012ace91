/**
 * Matrices as the writers of quantized checkpoints store them, and the numbers that they stand for,
 * by their formulas.
 *
 * @module
 */

import { E2M1_VALUES, E4M3_VALUES } from "../../graph/mod.ts";
import { type MatrixWriter, plainMatrix, type Random, tensorOf } from "./dialect_model.ts";
import type { TensorToWrite } from "./write_safetensors.ts";

/** A random E4M3 code that is a number. */
function e4m3Code(random: Random): number {
  const code = random.below(254);
  return code >= 127 ? code + 1 : code; // 127 and 255 are NaN
}

/** A positive number that f16 holds exactly. */
function scaleF16(random: Random): number {
  return new Float16Array([0.01 + random.below(1000) / 20000])[0];
}

/** Where the scale of an element is: index of its block. */
type BlockIndex = (row: number, column: number) => number;

interface Fp8Options {
  /** Name of the scale tensor. */
  readonly scale: string;
  /** Rows and columns of a block; 0 for all. */
  readonly block: readonly [number, number];
  /** The scale tensor of a grid. */
  readonly write: (
    grid: readonly [number, number],
    values: Float32Array<ArrayBuffer>,
  ) => TensorToWrite;
  /** Scales are powers of two. */
  readonly powers?: boolean;
}

/** E4M3 codes times the scale of their block (DeepSeek's and compressed-tensors' formula). */
export function fp8Writer({ scale, block, write, powers = false }: Fp8Options): MatrixWriter {
  return (random, rows, columns) => {
    const [high, wide] = [block[0] || rows, block[1] || columns];
    const grid = [Math.ceil(rows / high), Math.ceil(columns / wide)] as const;
    const scales = Float32Array.from(
      random.list(
        grid[0] * grid[1],
        () => powers ? 2 ** (random.below(4) - 11) : (1 + random.below(100)) / 50000,
      ),
    );
    const codes = Uint8Array.from(random.list(rows * columns, () => e4m3Code(random)));
    const indexOf: BlockIndex = (row, column) =>
      Math.floor(row / high) * grid[1] + Math.floor(column / wide);
    return {
      tensors: {
        weight: tensorOf("F8_E4M3", [rows, columns], codes),
        [scale]: write(grid, scales),
      },
      values: codes.reduce((values, code, i) => {
        values[i] = E4M3_VALUES[code] * scales[indexOf(Math.floor(i / columns), i % columns)];
        return values;
      }, new Float32Array(codes.length)),
    };
  };
}

interface IntegerOptions {
  readonly bits: 4 | 8;
  /** Columns of a group; 0 for a row. */
  readonly group: number;
  readonly symmetric: boolean;
}

/** Codes, scales and zero points of a matrix, and its numbers: (code - zero) · scale. */
interface Integers {
  readonly groups: number;
  /** [rows][columns] from 0 up. */
  readonly codes: readonly number[];
  /** [rows][groups] */
  readonly scales: readonly number[];
  /** [rows][groups] from 0 up. */
  readonly zeros: readonly number[];
  readonly values: Float32Array<ArrayBuffer>;
}

function randomIntegers(
  random: Random,
  rows: number,
  columns: number,
  { bits, group, symmetric }: IntegerOptions,
  groupOf: (column: number) => number = (column) => Math.floor(column / (group || columns)),
): Integers {
  const groups = Math.ceil(columns / (group || columns));
  const codes = random.list(rows * columns, () => random.below(2 ** bits));
  const scales = random.list(rows * groups, () => scaleF16(random) * (bits === 8 ? 1 / 16 : 1));
  const zeros = random.list(
    rows * groups,
    () => symmetric ? 2 ** (bits - 1) : random.below(2 ** bits),
  );
  const values = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = row * groups + groupOf(column);
      values[row * columns + column] = (codes[row * columns + column] - zeros[at]) * scales[at];
    }
  }
  return { groups, codes, scales, zeros, values };
}

/** Packs along the last dimension of [height, width], the first number in the lowest bits. */
function packWords(
  numbers: readonly number[],
  width: number,
  bits: number,
  order: readonly number[] = [0, 1, 2, 3, 4, 5, 6, 7],
): Int32Array<ArrayBuffer> {
  const count = 32 / bits;
  const height = numbers.length / width;
  const wide = Math.ceil(width / count);
  const words = new Int32Array(height * wide);
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < wide * count; j++) {
      const from = Math.floor(j / count) * count + order[j % count];
      if (from < width) {
        words[i * wide + Math.floor(j / count)] |= numbers[i * width + from] <<
          (bits * (j % count));
      }
    }
  }
  return words;
}

function turned<Of>(numbers: readonly Of[], height: number, width: number): Of[] {
  return Array.from(
    { length: numbers.length },
    (_, i) => numbers[(i % height) * width + Math.floor(i / height)],
  );
}

const f16 = (values: readonly number[]) => new Float16Array(values);

/** compressed-tensors `pack-quantized`: unsigned codes along the columns, zeros along the rows. */
export function packQuantizedWriter(options: IntegerOptions, order?: "group"): MatrixWriter {
  return (random, rows, columns) => {
    const { bits, group, symmetric } = options;
    const index = random.list(columns, (i) => Math.floor(i / group));
    for (let i = columns - 1; i > 0; i--) { // scattered
      const j = random.below(i + 1);
      [index[i], index[j]] = [index[j], index[i]];
    }
    const of = order ? (column: number) => index[column] : undefined;
    const { groups, codes, scales, zeros, values } = randomIntegers(
      random,
      rows,
      columns,
      options,
      of,
    );
    const zeroWords = packWords(turned(zeros, rows, groups), rows, bits);
    const zeroHigh = Math.ceil(rows * bits / 32);
    const count = 32 / bits;
    return {
      tensors: {
        weight_packed: tensorOf(
          "I32",
          [rows, Math.ceil(columns / count)],
          packWords(codes, columns, bits),
        ),
        weight_scale: tensorOf("F16", [rows, groups], f16(scales)),
        weight_shape: tensorOf("I64", [2], BigInt64Array.of(BigInt(rows), BigInt(columns))),
        ...(!symmetric && {
          weight_zero_point: tensorOf(
            "I32",
            [zeroHigh, groups],
            Int32Array.from(turned([...zeroWords], groups, zeroHigh).map(Number)),
          ),
        }),
        ...(order && { weight_g_idx: tensorOf("I32", [columns], Int32Array.from(index)) }),
      },
      values,
    };
  };
}

/** compressed-tensors `int-quantized`: signed bytes. */
export function intQuantizedWriter(group: number | "tensor", symmetric: boolean): MatrixWriter {
  return (random, rows, columns) => {
    const whole = group === "tensor";
    const wide = whole || group === 0 ? columns : group;
    const [high, groups] = [whole ? 1 : rows, Math.ceil(columns / wide)];
    const codes = Int8Array.from(random.list(rows * columns, () => random.below(256) - 128));
    const scales = random.list(high * groups, () => scaleF16(random) / 16);
    const zeros = random.list(high * groups, () => symmetric ? 0 : random.below(256) - 128);
    const values = Float32Array.from(codes, (code, i) => {
      const line = whole ? 0 : Math.floor(i / columns);
      const at = line * groups + Math.floor((i % columns) / wide);
      return (code - zeros[at]) * scales[at];
    });
    const shape = whole ? [1] : [rows, groups];
    return {
      tensors: {
        weight: tensorOf("I8", [rows, columns], codes),
        weight_scale: tensorOf("F16", shape, f16(scales)),
        ...(!symmetric && { weight_zero_point: tensorOf("I8", shape, Int8Array.from(zeros)) }),
      },
      values,
    };
  };
}

/** GPTQ: the transposed matrix, codes along its rows, zeros along the output. */
export function gptqWriter(
  options: IntegerOptions,
  { version, scattered = false }: { readonly version: 1 | 2; readonly scattered?: boolean },
): MatrixWriter {
  return (random, rows, columns) => {
    const { bits, group } = options;
    const index = random.list(columns, (i) => Math.floor(i / (group || columns)));
    if (scattered) index.reverse();
    const numbers = randomIntegers(random, rows, columns, options, (column) => index[column]);
    const { groups, codes, scales, zeros, values } = numbers;
    const stored = zeros.map((zero) => version === 1 ? (zero - 1) & (2 ** bits - 1) : zero);
    const count = 32 / bits;
    const high = columns / count;
    // Words [columns / count, rows]: each holds the codes of `count` columns of one row.
    const words = packWords(codes, columns, bits);
    return {
      tensors: {
        qweight: tensorOf("I32", [high, rows], Int32Array.from(turned([...words], rows, high))),
        qzeros: tensorOf(
          "I32",
          [groups, rows / count],
          packWords(turned(stored, rows, groups), rows, bits),
        ),
        scales: tensorOf("F16", [groups, rows], f16(turned(scales, rows, groups))),
        g_idx: tensorOf("I32", [columns], Int32Array.from(index)),
      },
      values,
    };
  };
}

/** AutoAWQ `gemm`: the transposed matrix, codes along the output in the order 0, 2, 4, 6, 1, 3, 5, 7. */
export function awqWriter(group: number): MatrixWriter {
  return (random, rows, columns) => {
    const options = { bits: 4, group, symmetric: false } as const;
    const { groups, codes, scales, zeros, values } = randomIntegers(random, rows, columns, options);
    const order = [0, 2, 4, 6, 1, 3, 5, 7];
    return {
      tensors: {
        qweight: tensorOf(
          "I32",
          [columns, rows / 8],
          packWords(turned(codes, rows, columns), rows, 4, order),
        ),
        qzeros: tensorOf(
          "I32",
          [groups, rows / 8],
          packWords(turned(zeros, rows, groups), rows, 4, order),
        ),
        scales: tensorOf("F16", [groups, rows], f16(turned(scales, rows, groups))),
      },
      values,
    };
  };
}

interface Fp4Options {
  readonly codes: string;
  readonly scale: string;
  /** NVFP4: name of the matrix's factor, and whether it divides. */
  readonly factor?: readonly [name: string, divides: boolean];
}

/** E2M1 codes, with scales of two levels (NVFP4) or powers of two (MXFP4). */
export function fp4Writer({ codes: name, scale, factor }: Fp4Options): MatrixWriter {
  return (random, rows, columns) => {
    const wide = factor ? 16 : 32;
    const groups = columns / wide;
    const codes = random.list(rows * columns, () => random.below(16));
    const bytes = Uint8Array.from(
      random.list(rows * columns / 2, (i) => codes[2 * i] | codes[2 * i + 1] << 4),
    );
    const scales = Uint8Array.from(
      random.list(rows * groups, () => factor ? 8 + random.below(100) : 121 + random.below(4)),
    );
    const second = factor?.[1] ? 1531.25 : 1 / 1024;
    const scaleOf = (code: number) =>
      factor
        ? (factor[1] ? E4M3_VALUES[code] / second : E4M3_VALUES[code] * second)
        : 2 ** (code - 127);
    const values = Float32Array.from(codes, (code, i) => {
      const at = Math.floor(i / columns) * groups + Math.floor((i % columns) / wide);
      return E2M1_VALUES[code] * scaleOf(scales[at]);
    });
    return {
      tensors: {
        [name]: tensorOf("U8", [rows, columns / 2], bytes),
        [scale]: tensorOf(factor ? "F8_E4M3" : "U8", [rows, groups], scales),
        ...(factor && { [factor[0]]: tensorOf("F32", [1], Float32Array.of(second)) }),
      },
      values,
    };
  };
}

/** Attention plain, experts by `write`. */
export function expertsOnly(write: MatrixWriter): MatrixWriter {
  return (random, rows, columns, module) =>
    module.includes(".experts.")
      ? write(random, rows, columns, module)
      : plainMatrix(random, rows, columns);
}
