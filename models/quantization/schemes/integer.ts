/**
 * Integer matrices: `value = (code - zero) · scale`, a scale for each row or for each group of its
 * columns. Codes of 4 and 8 bits stay packed, with offsets where zero points are not the middle; only
 * groups whose columns are scattered (`desc_act`, `actorder`) are expanded, to f32, which loses nothing.
 *
 * @module
 */

import {
  affineScales,
  cast,
  checked,
  dequantize,
  type DType,
  grouped,
  type IntegerPacking,
  type PackedFormat,
  packedWords,
  reshape,
  type ScaleBlock,
  transpose,
  unpack,
  type Weight,
} from "../../../graph/mod.ts";
import type { Scheme } from "../quantization.ts";
import type { StoredModule } from "../stored_module.ts";

/** Zero points of a matrix, and how its file holds them. */
export interface ZeroPoints {
  readonly tensor: string;
  readonly packing: IntegerPacking;
  /** Added to each stored number, which GPTQ's first version wrote one too small. */
  readonly add: 0 | 1;
}

/** How a writer stores its integers. */
export interface IntegerOptions {
  readonly bits: 4 | 8;
  /** Columns that share a scale; 0 for a whole row. */
  readonly groupSize: number;
  readonly codes: string;
  readonly packing: IntegerPacking;
  readonly scales: string;
  /** The scales' matrix is [groups, rows]. */
  readonly scalesTransposed: boolean;
  /** Absent: the middle of the codes, 2^(bits - 1). */
  readonly zeros?: ZeroPoints;
  /** The zero points are the middle, as the config says; checked while loading. */
  readonly symmetric?: { readonly source: string };
  /** Tensor with the group of each column. */
  readonly groupIndex?: string;
  /** Columns of a group are scattered. */
  readonly scattered: boolean;
  /** Where the config says that they are not, for the check of `groupIndex`. */
  readonly source: string;
}

const FLOATS: readonly DType[] = ["f32", "f16", "bf16"];

/** Name of the kernel format that a matrix is kept in. */
function formatOf({ bits, zeros, symmetric }: IntegerOptions): PackedFormat {
  return zeros && !symmetric
    ? (bits === 4 ? "int4_affine" : "int8_affine")
    : (bits === 4 ? "int4" : "int8");
}

/** Reads the integers of 32-bit words. */
export function integerScheme(options: IntegerOptions): Scheme {
  const { bits, codes, packing } = options;
  return {
    format: formatOf(options),
    codes,
    codesType: "i32",
    read(module) {
      const { rows, columns } = module;
      const words = module.tensor(codes, packedWords(packing, rows, columns), ["i32", "u32"]);
      const scale = scalesOf(module, options);
      const zero = zerosOf(module, options);
      const middle = 2 ** (bits - 1);
      if (options.scattered) {
        const bytes = unpack(words, packing, [rows, columns]);
        return grouped(bytes, scale, zero ?? middle, groupsOf(module, options));
      }
      const ordered = withOrderedGroups(module, options, words);
      const block: ScaleBlock = [1, options.groupSize];
      if (zero && !options.symmetric) {
        return affineMatrix(ordered, { ...options, rows, columns, block, scale, zero });
      }
      const own = zero && options.symmetric ? withMiddleZeros(scale, zero, options) : scale;
      return symmetricMatrix(ordered, { ...options, rows, columns, block, scale: own });
    },
  };
}

interface Matrix extends IntegerOptions {
  readonly rows: number;
  readonly columns: number;
  readonly block: ScaleBlock;
  readonly scale: Weight;
}

/** Nibbles need an even row; an odd one is read as bytes. */
function symmetricMatrix(words: Weight, matrix: Matrix): Weight {
  const { bits, packing, rows, columns, block, scale } = matrix;
  if (bits === 4 && columns % 2 === 0) {
    const nibbles = unpack(words, packing, [rows, columns], { codesPerByte: 2 });
    return dequantize("int4", nibbles, [scale], { block });
  }
  const signed = unpack(words, packing, [rows, columns], {
    add: -(2 ** (bits - 1)),
    dtype: "i8",
  });
  return dequantize("int8", signed, [scale], { block });
}

function affineMatrix(words: Weight, matrix: Matrix & { readonly zero: Weight }): Weight {
  const { bits, packing, rows, columns, block, scale, zero } = matrix;
  if (bits === 4 && columns % 2 === 0) {
    const nibbles = unpack(words, packing, [rows, columns], { codesPerByte: 2 });
    return dequantize("int4_affine", nibbles, [affineScales(scale, zero)], { block });
  }
  const base = bits === 8 ? 128 : 0; // codes from 0 to 255 are stored as -128 to 127
  const signed = unpack(words, packing, [rows, columns], { add: -base, dtype: "i8" });
  return dequantize("int8_affine", signed, [affineScales(scale, zero, base)], { block });
}

function groupCount({ columns }: StoredModule, { groupSize }: IntegerOptions): number {
  return groupSize === 0 ? 1 : Math.ceil(columns / groupSize);
}

/** f32 [rows, groups] */
function scalesOf(module: StoredModule, options: IntegerOptions): Weight {
  const { scales, scalesTransposed, codes } = options;
  module.find(codes, [scales]);
  const [rows, groups] = [module.rows, groupCount(module, options)];
  if (scalesTransposed) {
    return cast(transpose(module.tensor(scales, [groups, rows], FLOATS), 0, 1), "f32");
  }
  // A scale for each row may stand as [rows].
  const shape = groups === 1 && module.shapeOf(scales).length === 1 ? [rows] : [rows, groups];
  return reshape(cast(module.tensor(scales, shape, FLOATS), "f32"), [rows, groups]);
}

/** u8 [rows, groups] */
function zerosOf(module: StoredModule, options: IntegerOptions): Weight | undefined {
  const { zeros, bits, codes } = options;
  if (!zeros) return undefined;
  module.find(codes, [zeros.tensor]);
  const [rows, groups] = [module.rows, groupCount(module, options)];
  const words = packedWords(zeros.packing, rows, groups);
  return unpack(module.tensor(zeros.tensor, words, ["i32", "u32"]), zeros.packing, [rows, groups], {
    add: zeros.add,
    // A zero of 0 was written as -1, all bits set: adding one brings it back.
    mask: bits === 4 ? 15 : 255,
  });
}

function withMiddleZeros(scale: Weight, zero: Weight, options: IntegerOptions): Weight {
  return checked(scale, {
    against: zero,
    expected: { first: 2 ** (options.bits - 1), step: Infinity },
    message: {
      what: "the zero point",
      source: options.symmetric?.source ?? options.source,
      hint:
        "Set sym to false in the quantization_config of config.json if the zero points are right",
    },
  });
}

/** i32 [columns] */
function groupsOf(module: StoredModule, { groupIndex = "g_idx", codes }: IntegerOptions): Weight {
  module.find(codes, [groupIndex]);
  return module.tensor(groupIndex, [module.columns], ["i32"]);
}

/** The words, which are read after the check that the index of groups ascends. */
function withOrderedGroups(module: StoredModule, options: IntegerOptions, words: Weight): Weight {
  const { groupIndex, groupSize, source } = options;
  if (groupIndex === undefined || !module.has(groupIndex)) return words;
  return checked(words, {
    against: module.tensor(groupIndex, [module.columns], ["i32"]),
    expected: { first: 0, step: groupSize === 0 ? Infinity : groupSize },
    message: {
      what: "the group",
      source,
      hint: "Set desc_act to true in the quantization_config of config.json if the order is right",
    },
  });
}
