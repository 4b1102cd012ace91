/**
 * Element types of GGUF tensors: how blocks of them are laid out, and the kernel format that holds
 * the same numbers.
 *
 * Numbers and layouts: `enum ggml_type` of
 * https://github.com/ggml-org/ggml/blob/master/include/ggml.h and the structs of
 * https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h.
 *
 * @module
 */

import { CheckpointError } from "../../graph/mod.ts";
import { BLOCK_LAYOUTS, type BlockLayout } from "./block_codes.ts";

/** A type whose blocks are codes, scales and offsets: `value = code · scale + offset`. */
export interface PackedGgufType {
  readonly layout: BlockLayout;
  /** Elements that share a scale. */
  readonly group: 16 | 32;
  /** Whether there are offsets. */
  readonly hasOffsets: boolean;
  /** Codes: 4 or 8 bits in a kernel's format, or E2M1. */
  readonly codes: "4bit" | "8bit" | "e2m1";
}

/** An element type. */
export interface GgufType {
  readonly id: number;
  readonly name: string;
  readonly blockElements: number;
  readonly blockBytes: number;
  /** The element type in memory, for plain types. */
  readonly plain?: "f32" | "f16" | "bf16";
  /** For the packed types that are read. Types with neither are refused by name. */
  readonly packed?: PackedGgufType;
}

function plain(id: number, name: string, dtype: "f32" | "f16" | "bf16"): GgufType {
  return { id, name, blockElements: 1, blockBytes: dtype === "f32" ? 4 : 2, plain: dtype };
}

function packed(
  id: number,
  name: keyof typeof BLOCK_LAYOUTS,
  [blockElements, blockBytes]: readonly [number, number],
  type: Omit<PackedGgufType, "layout">,
): GgufType {
  const layout = BLOCK_LAYOUTS[name];
  return { id, name, blockElements, blockBytes, packed: { ...type, layout } };
}

function refused(
  id: number,
  name: string,
  blockElements: number,
  blockBytes: number,
): GgufType {
  return { id, name, blockElements, blockBytes };
}

const NIBBLES = { group: 32, codes: "4bit" } as const;
const BYTES = { group: 32, codes: "8bit" } as const;

/** Every type that files have. */
export const GGUF_TYPES: readonly GgufType[] = [
  plain(0, "F32", "f32"),
  plain(1, "F16", "f16"),
  plain(30, "BF16", "bf16"),
  packed(2, "Q4_0", [32, 18], { ...NIBBLES, hasOffsets: false }),
  packed(3, "Q4_1", [32, 20], { ...NIBBLES, hasOffsets: true }),
  packed(6, "Q5_0", [32, 22], { ...BYTES, hasOffsets: false }),
  packed(7, "Q5_1", [32, 24], { ...BYTES, hasOffsets: true }),
  packed(8, "Q8_0", [32, 34], { ...BYTES, hasOffsets: false }),
  packed(12, "Q4_K", [256, 144], { ...NIBBLES, hasOffsets: true }),
  packed(13, "Q5_K", [256, 176], { ...BYTES, hasOffsets: true }),
  packed(14, "Q6_K", [256, 210], { ...BYTES, group: 16, hasOffsets: false }),
  packed(20, "IQ4_NL", [32, 18], { ...BYTES, hasOffsets: false }),
  packed(39, "MXFP4", [32, 17], { group: 32, codes: "e2m1", hasOffsets: false }),
  refused(9, "Q8_1", 32, 36),
  refused(10, "Q2_K", 256, 84),
  refused(11, "Q3_K", 256, 110),
  refused(15, "Q8_K", 256, 292),
  refused(16, "IQ2_XXS", 256, 66),
  refused(17, "IQ2_XS", 256, 74),
  refused(18, "IQ3_XXS", 256, 98),
  refused(19, "IQ1_S", 256, 50),
  refused(21, "IQ3_S", 256, 110),
  refused(22, "IQ2_S", 256, 82),
  refused(23, "IQ4_XS", 256, 136),
  refused(24, "I8", 1, 1),
  refused(25, "I16", 1, 2),
  refused(26, "I32", 1, 4),
  refused(27, "I64", 1, 8),
  refused(28, "F64", 1, 8),
  refused(29, "IQ1_M", 256, 56),
  refused(34, "TQ1_0", 256, 54),
  refused(35, "TQ2_0", 256, 66),
];

/** Names of the types that are read. */
export const READ_TYPES: readonly string[] = GGUF_TYPES
  .filter((type) => type.plain ?? type.packed)
  .map(({ name }) => name);

/** The type of a number in a file. */
export function findGgufType(id: number): GgufType {
  const type = GGUF_TYPES.find((each) => each.id === id);
  if (type) return type;
  throw new CheckpointError(
    "checkpoint/dtype",
    `Cannot read a tensor of GGUF type ${id}: expected one of ${
      READ_TYPES.join(", ")
    }, got another`,
    { hint: "Choose a file of another quantization, such as Q4_K_M or Q8_0" },
  );
}
