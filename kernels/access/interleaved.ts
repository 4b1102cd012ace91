/**
 * How kernels read interleaved rows (`order.ts`) of the packed formats: which fragments, and in which
 * order the scales are.
 *
 * @module
 */

import type { PackedFormat } from "../../graph/mod.ts";
import type { InterleavedAccess } from "./access.ts";
import codesFp4 from "./codes_fp4_arranged.wgsl" with { type: "text" };
import codesInt4 from "./codes_int4.wgsl" with { type: "text" };
import codesUint4 from "./codes_uint4.wgsl" with { type: "text" };
import load4bit from "./load_4bit_interleaved.wgsl" with { type: "text" };
import load4bitAffine from "./load_4bit_affine_interleaved.wgsl" with { type: "text" };
import loadFp8 from "./load_fp8_interleaved.wgsl" with { type: "text" };
import loadInt8 from "./load_int8_interleaved.wgsl" with { type: "text" };
import loadInt8Affine from "./load_int8_affine_interleaved.wgsl" with { type: "text" };
import { scaleOrder } from "./order.ts";
import scaleAffine from "./scale_affine.wgsl" with { type: "text" };
import scaleGrid from "./scale_grid.wgsl" with { type: "text" };
import scalesE8m0Fours from "./scales_e8m0_fours.wgsl" with { type: "text" };
import scalesEach from "./scales_each.wgsl" with { type: "text" };

/** Rows of so many words with blocks of scales of a size. */
export interface InterleavedRows {
  readonly words: number;
  /** Rows and columns that share a scale. */
  readonly block: readonly [number, number];
}

/** Reads interleaved rows of a format; undefined where it does not. */
export function interleavedAccess(
  format: PackedFormat,
  rows: InterleavedRows,
): InterleavedAccess | undefined {
  if (rows.block[1] % 8 !== 0) return undefined;
  switch (format) {
    case "mxfp4":
      return {
        load: [codesFp4, scalesE8m0Fours, load4bit],
        scaleOrder: scaleOrder(rows.words, 4, 1),
        arranged: true,
      };
    case "int4":
      return { load: [scaleGrid, scalesEach, codesInt4, load4bit] };
    case "int8":
      return { load: [scaleGrid, scalesEach, loadInt8] };
    case "fp8_e4m3":
    case "fp8_block":
      return { load: [scaleGrid, scalesEach, loadFp8] };
    case "int4_affine":
      return { load: [scaleAffine, scalesEach, codesUint4, load4bitAffine] };
    case "int8_affine":
      return { load: [scaleAffine, scalesEach, loadInt8Affine] };
    case "nvfp4":
      return undefined;
  }
}
