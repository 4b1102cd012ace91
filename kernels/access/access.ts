/**
 * What a shader is put together from: pieces of buffers, fragments and constants that belong
 * together, such as a weight and the functions that read it.
 *
 * @module
 */

import { invariant, type Value, type WeightFormat } from "../../graph/mod.ts";
import type { ShaderBuffer, ShaderConstants } from "../compose.ts";
import type { WordOrder } from "../kernel.ts";

/** A weight as a kernel wants to read it. */
export interface WeightSpec {
  readonly format: WeightFormat;
  /** The bound weight, `[.., rows, columns]`; leading dimensions count as rows. */
  readonly payload: Value;
  /** Elements of a row (not bytes of a packed one). */
  readonly columns: number;
  /** Scale tensors in the format's own order; none for plain formats. */
  readonly scales?: readonly Value[];
  /** Rows of one matrix: scale grids start anew with each. All rows when absent. */
  readonly matrixRows?: number;
  /** Elements `[rows, columns]` that share a scale, for block formats. */
  readonly block?: readonly [number, number];
  /**
   * Words of one chunk of 8 elements: a row's words are four times as many for 4-bit codes, and the
   * elements of x that neighbouring invocations need lie side by side. For kernels that read x from
   * memory again and again; where the format and the sizes allow no such words, those of 16 bytes.
   */
  readonly chunkWords?: boolean;
  /**
   * Whether rows may be in the interleaved order (`order.ts`); where the format and the sizes allow it,
   * they are, and the binding says so. All readers of a weight must agree.
   */
  readonly interleaved?: boolean;
  /** Bind only these rows; every offset in bytes must be a multiple of 256. */
  readonly part?: { readonly firstRow: number; readonly rows: number };
}

/** What a shader must include to reach one of its operands, or to compute one of its parts. */
export interface Access {
  readonly buffers: readonly ShaderBuffer[];
  readonly fragments: readonly string[];
  readonly constants: ShaderConstants;
}

/** A buffer that the shader reads as an array of `element`, such as `vec4<f32>`. */
export function reads(name: string, element: string, buffer: ShaderBuffer["buffer"]): Access {
  return binds({ name, type: `array<${element}>`, access: "read", buffer });
}

/** A buffer that the shader writes, or reads and writes, as an array of `element`. */
export function writes(name: string, element: string, buffer: ShaderBuffer["buffer"]): Access {
  return binds({ name, type: `array<${element}>`, access: "read_write", buffer });
}

/** Buffers, with nothing that reads them but the shader's own text. */
export function binds(...buffers: readonly ShaderBuffer[]): Access {
  return { buffers, fragments: [], constants: {} };
}

/** Fragments that bring no buffer. */
export function fragments(...texts: readonly string[]): Access {
  return { buffers: [], fragments: texts, constants: {} };
}

/** Constants alone. */
export function constants(values: ShaderConstants): Access {
  return { buffers: [], fragments: [], constants: values };
}

/**
 * Everything several accesses bring, in order; a buffer that several bring is bound once. A constant has
 * one value, whoever brings it.
 */
export function joinAccess(...accesses: readonly Access[]): Access {
  const buffers = new Map<string, ShaderBuffer>();
  for (const buffer of accesses.flatMap((access) => access.buffers)) {
    buffers.set(buffer.name, buffer);
  }
  return {
    buffers: [...buffers.values()],
    fragments: accesses.flatMap((access) => access.fragments),
    constants: joinConstants(accesses),
  };
}

function joinConstants(accesses: readonly Access[]): ShaderConstants {
  const joined = new Map<string, ShaderConstants[string]>();
  for (const [name, value] of accesses.flatMap((access) => Object.entries(access.constants))) {
    const known = joined.get(name);
    invariant(known === undefined || known === value, `constant ${name} is ${known} and ${value}`);
    joined.set(name, value);
  }
  return Object.fromEntries(joined);
}

/** What reads interleaved rows. */
export interface InterleavedAccess {
  readonly load: readonly string[];
  /** Whether the bits of codes are arranged as those of FP4. */
  readonly arranged?: boolean;
  /** Of the scales; the checkpoint's when absent. */
  readonly scaleOrder?: WordOrder;
}

/** The parts of a format that kernels depend on. */
export interface FormatAccess {
  /** Bytes of one row's payload. */
  rowBytes(columns: number): number;
  /** Chunks of 8 elements in one word. */
  readonly wordChunks: number;
  /** Fragments for rows of whole words. */
  readonly load: readonly string[];
  /** Fragments with `$NAME_at(row, column)`, for rows of any length. */
  readonly at: readonly string[];
  /** Words of one chunk each, where the format has them, and the type they are bound as. */
  readonly chunkWords?: { readonly type: string; readonly load: readonly string[] };
  /** What reads interleaved rows, where the format and the sizes have them. */
  interleaved?(spec: WeightSpec): InterleavedAccess | undefined;
  /** Whether whole words may be read for this spec; when absent, rows of whole words suffice. */
  wholeWords?(spec: WeightSpec): boolean;
  /** The same for words of one chunk. */
  wholeChunks?(spec: WeightSpec): boolean;
  /** Buffers and constants for scales. */
  scales?(name: string, spec: WeightSpec): Pick<Access, "buffers" | "constants">;
}
