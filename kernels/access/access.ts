/**
 * What a weight format tells the kernels that read it.
 *
 * @module
 */

import type { Value, WeightFormat } from "../../graph/mod.ts";
import type { ShaderBuffer, ShaderConstants } from "../compose.ts";

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
  /** Bind only these rows; every offset in bytes must be a multiple of 256. */
  readonly part?: { readonly firstRow: number; readonly rows: number };
}

/** What a shader must include to read a weight or rows of activations. */
export interface Access {
  readonly buffers: readonly ShaderBuffer[];
  readonly fragments: readonly string[];
  readonly constants: ShaderConstants;
}

/** The parts of a format that kernels depend on. */
export interface FormatAccess {
  /** Bytes of one row's payload. */
  rowBytes(columns: number): number;
  /** Chunks of 8 elements in one word. */
  readonly parts: number;
  /** Fragments for rows of whole words. */
  readonly load: readonly string[];
  /** Fragments with `$NAME_at(row, column)`, for rows of any length. */
  readonly at: readonly string[];
  /** Whether whole words may be read for this spec; when absent, rows of whole words suffice. */
  wholeWords?(spec: WeightSpec): boolean;
  /** Buffers and constants for scales. */
  scales?(name: string, spec: WeightSpec): Pick<Access, "buffers" | "constants">;
}
